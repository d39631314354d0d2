"""Train the demo VLM's vision adapter (vision tower and projector) for the frozen language model.

    python -m training.train_adapter captions --minutes 40 --out captions.safetensors
    python -m training.train_adapter answers --init captions.safetensors --minutes 30 --out answers.safetensors
    python -m training.train_adapter words --init answers.safetensors --minutes 10 --out words.safetensors

captions: the language model takes no part but for its embedding matrix. The 17 image tokens of a picture learn
    to be the word embeddings of its caption, padded with full stops.
answers: through the frozen language model. Half of every step are visual questions, open and multiple choice;
    the other half ordinary harmless instructions beside unrelated pictures, where the target is what the model
    itself answers to the instruction as text. Without that half every prompt with a picture gets a description.
    The caption loss goes on beside them, so that the tower keeps seeing while the model learns to answer.
words: from an answers adapter, without the language model again. The image tokens that stand for a written word
    become that word's embeddings; all other image tokens, and those of all other pictures, are held where they are.
    A model copies a word whose embedding it gets; with a token that is merely nearest to it, it answers with a word
    of near meaning or spelling.

No harmful request, no refusal and none of the anchors that guards are fitted on takes part in any. Two CPU
cores are enough; the learning rate follows the clock, so a faster machine sees more pictures in the same minutes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from tqdm import tqdm
from transformers import DynamicCache, LlavaForConditionalGeneration, PreTrainedTokenizerBase

from vlmguard_plugin.demo.build import (
    IMAGE_TOKEN,
    IMAGE_TOKENS,
    adapter_modules,
    adapter_state,
    build_processor,
    load_adapter,
    load_parts,
)
from vlmguard_plugin.demo.questions import training_question
from vlmguard_plugin.demo.weights import GGUF_SHA256, language_model
from vlmguard_plugin.files import cache_directory, write_whole
from vlmguard_plugin.judges.refusal import judge
from vlmguard_plugin.pictures.drawn import Picture, picture

INSTRUCTIONS_FILE = Path(__file__).parent / "instructions.csv"
HELD_OUT_EVERY = 10  # every tenth instruction is kept for measuring
TARGET_TOKENS = 40  # length of the model's own answers
IMITATED_TOKENS = 24  # of which the answers stage imitates the beginning
CHECKPOINT_SECONDS = 180


@dataclass(frozen=True)
class Stage:
    """Settings of one stage. batch: examples a step. rate: peak learning rate.

    pool: captioned pictures, drawn beforehand (captions, words) or freshly for every step (answers).
    """

    batch: int
    rate: float
    pool: int


STAGES = {
    "captions": Stage(batch=96, rate=8e-4, pool=40_000),
    "answers": Stage(batch=24, rate=3e-4, pool=96),
    "words": Stage(batch=96, rate=5e-4, pool=60_000),
}
WRITTEN_WEIGHT = 4  # how much a written word's tokens count, in the words stage, beside each that is held


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--init", type=Path, help="adapter to start from; without it the adapter starts untrained")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long to train, pictures and targets apart")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mean-with", type=Path, help="at the end, save the mean of the weights and this adapter's")
    parser.add_argument("--out", type=Path, required=True, help="adapter file to write, also as a checkpoint")
    options = parser.parse_args(arguments)
    if options.stage == "words" and not options.init:
        parser.error("the words stage goes on from an adapter; name it with --init")
    if options.minutes <= 0:
        parser.error(f"--minutes is {options.minutes}; give a positive number")

    model, tokenizer = load_parts(language_model())
    model.requires_grad_(False)
    for module in adapter_modules(model).values():
        module.float().requires_grad_(True)
    history = {"stage": options.stage, "seed": str(options.seed), "minutes": str(options.minutes), "init": "untrained"}
    if options.init:
        load_adapter(model, options.init)
        history["init"] = hashlib.sha256(options.init.read_bytes()).hexdigest()
    if options.mean_with and not options.mean_with.is_file():
        parser.error(f"--mean-with {options.mean_with} is no file")

    torch.manual_seed(options.seed)
    step = {"captions": captions_step, "answers": answers_step, "words": words_step}[options.stage]
    losses = step(model, tokenizer, STAGES[options.stage], options.seed)
    fit(model, losses, STAGES[options.stage], options, history)


def fit(model, losses, stage: Stage, options: argparse.Namespace, history: dict[str, str]) -> None:
    """AdamW on the adapter until the time is up; losses yields, each time, the next step's loss with its graph."""
    parameters = [value for module in adapter_modules(model).values() for value in module.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=stage.rate, weight_decay=0.01, betas=(0.9, 0.98))
    loss, steps, average = next(losses), 0, None  # drawing the pool of pictures is not counted as training
    start = saved = time.monotonic()
    with tqdm(total=round(options.minutes * 60), unit="s", desc=f"{options.stage} adapter") as bar:
        while (elapsed := time.monotonic() - start) < options.minutes * 60:
            rate = stage.rate * learning_rate_factor(elapsed / (options.minutes * 60), steps)
            for group in optimiser.param_groups:
                group["lr"] = rate
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            steps += 1
            average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
            bar.n = round(elapsed)
            bar.set_postfix(loss=f"{average:.3f}", steps=steps)
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                save_adapter(model, options.out, history | {"steps": str(steps), "finished": "no"})
                saved = time.monotonic()
            loss = next(losses)
    if options.mean_with:
        average_with(model, options.mean_with)
        history["mean_with"] = hashlib.sha256(options.mean_with.read_bytes()).hexdigest()
    save_adapter(model, options.out, history | {"steps": str(steps), "finished": "yes"})


def average_with(model: LlavaForConditionalGeneration, path: Path) -> None:
    """Replace the adapter's weights by their mean with a saved adapter's, an earlier state of the same run.

    What a learning rate that still falls leaves behind, two such states even out.
    """
    trained = {name: value.detach().clone() for name, value in adapter_state(model).items()}
    load_adapter(model, path)
    with torch.no_grad():
        for name, value in adapter_state(model).items():
            value.copy_((value + trained[name]) / 2)


def learning_rate_factor(progress: float, steps: int) -> float:
    """Half a cosine from 1 to 0.02 over the run, after 20 steps of warming up. progress: 0 to 1."""
    return min(1.0, (steps + 1) / 20) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


def save_adapter(model: LlavaForConditionalGeneration, path: Path, history: dict[str, str]) -> None:
    """Write the adapter in float16, under names that no version of transformers changes, with its history."""
    weights = {name: value.detach().half().contiguous() for name, value in adapter_state(model).items()}
    write_whole(path, save(weights, metadata={"format": "pt"} | history))


def image_tokens(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """Image tokens [B, 17, d] of pictures [B, 3, 96, 96] in [-1, 1]."""
    modules = adapter_modules(model)
    return modules["multi_modal_projector"](tower_states(modules["vision_tower"], pixels))


def tower_states(tower: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """The vision tower's last layer [B, 17, 256], class token first, before the pooling's layer norm."""
    states = tower.pre_layrnorm(tower.embeddings(pixels))
    return tower.encoder(inputs_embeds=states).last_hidden_state


def pixels_of(images: np.ndarray | list[np.ndarray]) -> torch.Tensor:
    """uint8 pictures [B, 96, 96, 3] as the processor gives them: float32 [B, 3, 96, 96] in [-1, 1]."""
    return torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2).float() / 127.5 - 1


class CaptionLoss:
    """How far a picture's image tokens are from the word embeddings of its caption.

    Each image token answers for one token of the caption: cross-entropy over the caption vocabulary, with the
    dot product with the frozen word embeddings (times 40) as logits and rare words weighted up by the inverse
    root of their frequency, plus half the squared distance to the word's embedding.
    """

    def __init__(self, model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        every = caption_tokens([picture("train", number).caption for number in range(20_000)], tokenizer)
        self.vocabulary, positions = every.unique(return_inverse=True)
        self.embeddings = model.get_input_embeddings().weight[self.vocabulary].float()  # [V, d]
        weights = torch.bincount(positions.flatten()).float().rsqrt()
        self.weights = weights / weights[positions].mean()
        self.padding = int(every[0, -1])

    def __call__(self, tokens: torch.Tensor, captions: list[str], padding: bool) -> torch.Tensor:
        """Mean loss of image tokens [B, 17, d]. padding: whether the full stops after a caption count."""
        wanted = caption_tokens(captions, self.tokenizer)
        counted = torch.full_like(wanted, True, dtype=torch.bool) if padding else wanted != self.padding
        wanted = torch.searchsorted(self.vocabulary, wanted[counted])
        logits = 40 * tokens[counted] @ self.embeddings.T
        distance = (tokens[counted] - self.embeddings[wanted]).square().sum(-1).mean()
        return F.cross_entropy(logits, wanted, weight=self.weights) + 0.5 * distance


def captions_step(model, tokenizer, stage: Stage, seed: int):
    """Yield losses of the captions stage."""
    shown = [picture("train", seed * stage.pool + number) for number in range(stage.pool)]
    images = np.stack([np.asarray(one.image()) for one in tqdm(shown, desc="drawing", unit="picture")])
    loss = CaptionLoss(model, tokenizer)
    order = torch.Generator().manual_seed(seed)
    while True:
        for batch in torch.randperm(stage.pool, generator=order).split(stage.batch):
            tokens = image_tokens(model, pixels_of(images[batch.numpy()]))
            yield loss(tokens, [shown[number].caption for number in batch.tolist()], padding=True)


def words_step(model, tokenizer, stage: Stage, seed: int):
    """Yield losses of the words stage: squared distances to where the tokens are to be.

    Half of the pictures show a word. A written word's tokens count WRITTEN_WEIGHT times as much as the held ones.
    """
    kinds = ("word", None)
    shown = [picture("train", seed * stage.pool + number, kinds[number % 2]) for number in range(stage.pool)]
    images = np.stack([np.asarray(one.image()) for one in tqdm(shown, desc="drawing", unit="picture")])
    written = torch.stack([written_tokens(one, tokenizer) for one in shown])  # [N, 17], -1 where a token is held
    embeddings = model.get_input_embeddings().weight
    held = torch.empty(stage.pool, IMAGE_TOKENS, embeddings.shape[1], dtype=torch.float16)
    with torch.no_grad():
        for start in tqdm(range(0, stage.pool, 256), desc="as it is", unit="batch"):
            held[start : start + 256] = image_tokens(model, pixels_of(images[start : start + 256])).half()
    order = torch.Generator().manual_seed(seed)
    while True:
        for batch in torch.randperm(stage.pool, generator=order).split(stage.batch):
            goal, words = held[batch].float(), written[batch]
            goal[words >= 0] = embeddings[words[words >= 0]].float()
            weights = torch.where(words >= 0, WRITTEN_WEIGHT, 1)
            distances = (image_tokens(model, pixels_of(images[batch.numpy()])) - goal).square().sum(-1)
            yield (weights * distances).sum() / weights.sum()


def written_tokens(shown: Picture, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """[17]: the token numbers of the word on a picture, in their places in its caption; -1 elsewhere."""
    found = torch.full((IMAGE_TOKENS,), -1)
    if shown.word is not None:
        before, _ = shown.caption.split(f" {shown.word} ", 1)
        start = len(tokenizer.encode(" " + before, add_special_tokens=False))
        word = tokenizer.encode(" " + shown.word, add_special_tokens=False)
        found[start : start + len(word)] = torch.tensor(word)
    return found


def caption_tokens(captions: list[str], tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """Token numbers [N, 17] of captions, each with a leading space and padded with full stops."""
    (stop,) = tokenizer.encode(".", add_special_tokens=False)
    rows = [tokenizer.encode(" " + caption, add_special_tokens=False) for caption in captions]
    for row, caption in zip(rows, captions):
        if len(row) > IMAGE_TOKENS:
            raise ValueError(f"caption {caption!r} has {len(row)} tokens, a picture only {IMAGE_TOKENS}; shorten it")
    return torch.tensor([row + [stop] * (IMAGE_TOKENS - len(row)) for row in rows])


@dataclass(frozen=True)
class Example:
    """A prompt about a picture and what the model should answer. finished: the answer ends there."""

    image: np.ndarray
    prompt: str
    answer: str
    finished: bool = True


def answers_step(model, tokenizer, stage: Stage, seed: int):
    """Yield losses of the answers stage: visual questions, instructions beside unrelated pictures, and captions.

    The loss is the mean cross-entropy of the answer tokens, each half's own mean counting the same, plus the
    caption loss of further pictures without their padding: what the pictures say must stay, while the image
    tokens behind the caption are free. Without it the tower forgets faster than the model learns to answer.
    """
    targets = own_answers(model, tokenizer, instructions("train"))
    template = build_processor(tokenizer)
    prefix = prompt_parts(template, "")[0]
    cache = cached_prefix(model, tokenizer, prefix)
    rng = random.Random(f"answers:{seed}")
    half = stage.batch // 2
    anchor = CaptionLoss(model, tokenizer)
    while True:
        visual = []
        for _ in range(half):
            shown, prompt, answer = training_question(rng.randrange(10**9))
            visual.append(Example(np.asarray(shown.image()), prompt, answer))
        beside = []
        for instruction, (answer, finished) in rng.sample(list(targets.items()), half):
            kind = rng.choice(("blank", "noise", *[None] * 6))  # None: any kind of picture
            shown = picture("train", rng.randrange(10**9), kind)
            beside.append(Example(np.asarray(shown.image()), instruction, answer, finished))
        losses = [answer_loss(model, tokenizer, template, cache, examples) for examples in (visual, beside)]
        shown = [picture("train", rng.randrange(10**9)) for _ in range(stage.pool)]
        tokens = image_tokens(model, pixels_of([np.asarray(one.image()) for one in shown]))
        yield sum(losses) / 2 + anchor(tokens, [one.caption for one in shown], padding=False)


def answer_loss(model, tokenizer, template, cache: DynamicCache, examples: list[Example]) -> torch.Tensor:
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
    labels = torch.full((len(examples), IMAGE_TOKENS + width), -100)
    known = cache.get_seq_length()
    mask = torch.zeros(len(examples), known + IMAGE_TOKENS + width, dtype=torch.long)
    for row, (asked, said) in enumerate(zip(questions, answers)):
        tokens[row, : len(asked) + len(said)] = torch.tensor(asked + said)
        start = IMAGE_TOKENS + len(asked)
        labels[row, start : start + len(said)] = torch.tensor(said)
        mask[row, : known + start + len(said)] = 1

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


def prompt_parts(template, prompt: str) -> tuple[str, str]:
    """What stands before and after the picture in the chat template, generation prompt included."""
    content = [{"type": "image"}, {"type": "text", "text": prompt}]
    text = template.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    before, after = text.split(IMAGE_TOKEN)
    return before, after


@torch.no_grad()
def cached_prefix(model, tokenizer, prefix: str) -> DynamicCache:
    """Keys and values of a text that every prompt begins with, for a batch of one."""
    tokens = torch.tensor([tokenizer.encode(prefix, add_special_tokens=False)])
    return model.model.language_model(input_ids=tokens, use_cache=True).past_key_values


def repeated(cache: DynamicCache, rows: int) -> DynamicCache:
    """A cache of one row, for a batch of rows; the original stays as it is."""
    batch = DynamicCache()
    for number, layer in enumerate(cache.layers):
        batch.update(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), number)
    return batch


def instructions(split: str) -> list[str]:
    """The harmless instructions of a split: every tenth is held out for measuring."""
    with INSTRUCTIONS_FILE.open(newline="", encoding="utf-8") as opened:
        every = [row["instruction"] for row in csv.DictReader(opened)]
    return [text for number, text in enumerate(every) if (number % HELD_OUT_EVERY == 0) == (split == "held_out")]


@torch.no_grad()
def own_answers(model, tokenizer, asked: list[str]) -> dict[str, tuple[str, bool]]:
    """What the model itself answers to instructions as text, greedily: {instruction: (answer, finished)}.

    Kept in the cache directory. Answers that are no compliance (a refusal, no language) are left out.
    """
    key = hashlib.sha256(json.dumps([GGUF_SHA256, TARGET_TOKENS, asked]).encode()).hexdigest()[:12]
    path = cache_directory() / f"demo-own-answers-{key}.json"
    if not path.is_file():
        template = build_processor(tokenizer)
        said = {}
        for start in tqdm(range(0, len(asked), 48), desc="own answers", unit="batch"):
            batch = asked[start : start + 48]
            prompts = [
                template.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True)
                for text in batch
            ]
            inputs = tokenizer(prompts, padding=True, return_tensors="pt")
            output = model.generate(**inputs, max_new_tokens=TARGET_TOKENS)[:, inputs["input_ids"].shape[1] :]
            for text, row in zip(batch, output.tolist()):
                finished = any(token in model.generation_config.eos_token_id for token in row)
                said[text] = (tokenizer.decode(row, skip_special_tokens=True), finished)
        path.write_text(json.dumps(said, indent=1), encoding="utf-8")
    said = json.loads(path.read_text(encoding="utf-8"))
    return {text: tuple(answer) for text, answer in said.items() if judge(text, answer[0]).label == "compliance"}


if __name__ == "__main__":
    main()
