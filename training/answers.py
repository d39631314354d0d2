"""The answers stage: questions and instructions beside pictures, through the frozen language model."""

from __future__ import annotations

import hashlib
import json
import os
import random
from dataclasses import dataclass
from typing import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import DynamicCache, LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerBase

from training.captions import CaptionLoss
from training.questions import training_question
from training.stage import Stage, image_tokens, pixels_of
from vlmguard_plugin.demo.build import IMAGE_TOKEN, build_processor
from vlmguard_plugin.demo.instructions import instructions
from vlmguard_plugin.demo.vlms import TOWER
from vlmguard_plugin.files import cache_directory, write_whole
from vlmguard_plugin.judges.refusal import judge
from vlmguard_plugin.pictures.drawn import picture

TARGET_TOKENS = 40  # length of the model's own answers
IMITATED_TOKENS = 24  # of which this stage imitates the beginning


@dataclass(frozen=True)
class Example:
    """A prompt about a picture and what the model should answer. finished: the answer ends there."""

    image: np.ndarray
    prompt: str
    answer: str
    finished: bool = True


@dataclass(frozen=True)
class DrawnStep:
    """What one step trains on. images: uint8 [N, 96, 96, 3], further pictures, with their captions."""

    visual: list[Example]
    beside: list[Example]
    images: np.ndarray
    captions: list[str]


class DrawnSteps(Dataset):
    """The examples and pictures of every step by its number, drawn when asked for; the same for the same seed.

    targets: the model's own answers to instructions.
    """

    def __init__(self, targets: dict[str, tuple[str, bool]], stage: Stage, seed: int) -> None:
        self.targets, self.stage, self.seed = list(targets.items()), stage, seed

    def __len__(self) -> int:
        return 10**7  # more than any clock allows

    def __getitem__(self, step: int) -> DrawnStep:
        rng = random.Random(f"answers:{self.seed}:{step}")
        half = self.stage.batch // 2
        visual = []
        for _ in range(half):
            shown, prompt, answer = training_question(rng.randrange(10**9), self.stage.question_weights)
            visual.append(Example(np.asarray(shown.image()), prompt, answer))
        beside = []
        for instruction, (answer, finished) in rng.sample(self.targets, half):
            kind = rng.choice(("blank", "noise", *[None] * 6))  # None: any kind of picture
            shown = picture("train", rng.randrange(10**9), kind)
            beside.append(Example(np.asarray(shown.image()), instruction, answer, finished))
        pictures = [picture("train", rng.randrange(10**9)) for _ in range(self.stage.pool)]
        images = np.stack([np.asarray(drawn.image()) for drawn in pictures])
        return DrawnStep(visual, beside, images, [drawn.caption for drawn in pictures])


def answers_step(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, stage: Stage, seed: int
) -> Iterator[torch.Tensor]:
    """Yield losses of the answers stage: visual questions, instructions beside unrelated pictures, and captions.

    The loss is the mean cross-entropy of the answer tokens, each half's own mean counting the same, plus the
    caption loss of further pictures without their padding: what the pictures say must stay, while the image
    tokens behind the caption are free. Without it the tower forgets faster than the model learns to answer.
    """
    targets = own_answers(model, tokenizer, instructions("train"))
    template = build_processor(tokenizer, TOWER)
    prefix = prompt_parts(template, "")[0]
    cache = cached_prefix(model, tokenizer, prefix)
    anchor = CaptionLoss(model, tokenizer)
    # Beside a GPU, drawing would take as long as a step; on a CPU it is a small part of one.
    drawers = min(8, (os.cpu_count() or 1) - 1) if model.device.type == "cuda" else 0
    for drawn in DataLoader(DrawnSteps(targets, stage, seed), batch_size=None, num_workers=drawers):
        losses = [answer_loss(model, tokenizer, template, cache, part) for part in (drawn.visual, drawn.beside)]
        tokens = image_tokens(model, pixels_of(drawn.images))
        yield sum(losses) / 2 + anchor(tokens, drawn.captions, padding=False)


def answer_loss(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    template: LlavaProcessor,
    cache: DynamicCache,
    examples: list[Example],
) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens, through the frozen language model.

    cache: keys and values of what stands before the picture, which no adapter changes.
    """
    (end,) = tokenizer.encode("<|im_end|>", add_special_tokens=False)
    questions, answers = [], []
    for example in examples:
        suffix = prompt_parts(template, example.prompt)[1]
        questions.append(tokenizer.encode(suffix, add_special_tokens=False))
        said = tokenizer.encode(example.answer, add_special_tokens=False) + [end] * example.finished
        answers.append(said[:IMITATED_TOKENS])
    width = max(len(asked) + len(said) for asked, said in zip(questions, answers))
    tokens = torch.full((len(examples), width), tokenizer.pad_token_id)
    labels = torch.full((len(examples), TOWER.image_tokens + width), -100)
    known = cache.get_seq_length()
    mask = torch.zeros(len(examples), known + TOWER.image_tokens + width, dtype=torch.long)
    for row, (asked, said) in enumerate(zip(questions, answers)):
        tokens[row, : len(asked) + len(said)] = torch.tensor(asked + said)
        start = TOWER.image_tokens + len(asked)
        labels[row, start : start + len(said)] = torch.tensor(said)
        mask[row, : known + start + len(said)] = 1

    tokens, labels, mask = (values.to(model.device) for values in (tokens, labels, mask))
    seen = image_tokens(model, pixels_of([example.image for example in examples]))
    words = model.get_input_embeddings()(tokens)
    states = model.model.language_model(
        inputs_embeds=torch.cat([seen.to(words.dtype), words], dim=1),
        attention_mask=mask,
        past_key_values=repeated(cache, len(examples)),
    ).last_hidden_state
    predicts = labels[:, 1:] != -100  # the state before an answer's token predicts it
    logits = model.lm_head(states[:, :-1][predicts])
    return F.cross_entropy(logits.float(), labels[:, 1:][predicts])


def prompt_parts(template: LlavaProcessor, prompt: str) -> tuple[str, str]:
    """What stands before and after the picture in the chat template, generation prompt included."""
    content = [{"type": "image"}, {"type": "text", "text": prompt}]
    text = template.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    before, after = text.split(IMAGE_TOKEN)
    return before, after


@torch.no_grad()
def cached_prefix(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, prefix: str
) -> DynamicCache:
    """Keys and values of a text that every prompt begins with, for a batch of one."""
    tokens = torch.tensor([tokenizer.encode(prefix, add_special_tokens=False)], device=model.device)
    return model.model.language_model(input_ids=tokens, use_cache=True).past_key_values


def repeated(cache: DynamicCache, rows: int) -> DynamicCache:
    """A cache of one row, for a batch of rows; the original stays as it is."""
    batch = DynamicCache()
    for number, layer in enumerate(cache.layers):
        batch.update(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), number)
    return batch


@torch.no_grad()
def own_answers(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, asked: list[str]
) -> dict[str, tuple[str, bool]]:
    """What the model itself answers to instructions as text, greedily: {instruction: (answer, finished)}.

    Kept in the cache directory. Answers that are no compliance (a refusal, no language) are left out.
    """
    of = [model.config.text_config._name_or_path, TARGET_TOKENS, asked]
    path = cache_directory() / f"demo-own-answers-{hashlib.sha256(json.dumps(of).encode()).hexdigest()[:12]}.json"
    if not path.is_file():
        template = build_processor(tokenizer, TOWER)
        # torch 2.13 multiplies a slice of states with frozen weights by copying the weights for every row.
        copied = model.lm_head.register_forward_pre_hook(lambda _, states: (states[0].contiguous(),))
        said = {}
        for start in tqdm(range(0, len(asked), 48), desc="own answers", unit="batch"):
            batch = asked[start : start + 48]
            prompts = [
                template.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True)
                for text in batch
            ]
            inputs = tokenizer(prompts, padding=True, return_tensors="pt").to(model.device)
            output = model.generate(**inputs, max_new_tokens=TARGET_TOKENS)[:, inputs["input_ids"].shape[1] :]
            for text, row in zip(batch, output.tolist()):
                finished = any(token in model.generation_config.eos_token_id for token in row)
                said[text] = (tokenizer.decode(row, skip_special_tokens=True), finished)
        copied.remove()
        write_whole(path, json.dumps(said, indent=1))
    said = json.loads(path.read_text(encoding="utf-8"))
    return {text: tuple(answer) for text, answer in said.items() if judge(text, answer[0]).label == "compliance"}
