"""ETA by its definition: each token from a pass of its own, each score from transformers itself; and who speaks."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPModel, CLIPProcessor, LlamaForSequenceClassification

import vlmguard_plugin as vg
from helpers.reference import coca_logits
from helpers.tiny_models import tiny_llava, tiny_processor


def speaking(batch_size=4, **more):
    """A subject whose words are a few letters, spaces and full stops, and which ends answers by itself."""
    model, processor = tiny_llava(), tiny_processor()
    favoured = {**dict.fromkeys("abcdefg", 4.0), " ": 4.0, ".": 4.5, "</s>": 3.5, **more}
    head = model.lm_head
    model.lm_head = torch.nn.Linear(head.in_features, head.out_features)
    model.lm_head.weight = head.weight
    ids = processor.tokenizer([*favoured], add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        model.lm_head.bias.zero_()
        for (token,), amount in zip(ids, favoured.values()):
            model.lm_head.bias[token] = amount
    model.generation_config.eos_token_id = 2
    return vg.HuggingFaceSubject(model.eval(), processor, batch_size=batch_size)


def pictured_requests(pictures):
    """Requests beside one picture, two and one."""
    return [
        vg.Query("What is this?", (pictures[0],)),
        vg.Query("And a longer question about these", (pictures[1], Image.open(pictures[2]))),
        vg.Query("Now what", (pictures[2],)),
    ]


class Scores:
    """What a CLIP model and a reward model say, by themselves."""

    def __init__(self, clip, reward):
        self.clip, self.processor = CLIPModel.from_pretrained(clip).eval(), CLIPProcessor.from_pretrained(clip)
        self.reward = LlamaForSequenceClassification.from_pretrained(reward).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(reward)

    def shown(self, images, text):
        """The highest cosine of the text with one of the images (files, or of Pillow's)."""
        return max(self.cosine(Image.open(image) if isinstance(image, str) else image, text) for image in images)

    def cosine(self, image, text):
        words = self.processor.tokenizer(text, return_tensors="pt", truncation=True, max_length=24)
        pixels = self.processor.image_processor(image.convert("RGB"), return_tensors="pt")
        with torch.no_grad():
            seen = self.clip.visual_projection(self.clip.vision_model(**pixels).pooler_output)[0].numpy()
            read = self.clip.text_projection(self.clip.text_model(**words).pooler_output)[0].numpy()
        return float(seen @ read / np.linalg.norm(seen) / np.linalg.norm(read))

    def good(self, request, answer):
        """The reward of an answer, in tiny_evaluators.TEMPLATE."""
        text = f"<|turn|>user: {request}\n<|turn|>assistant: {answer}\n"
        ids = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")
        with torch.no_grad():
            return float(self.reward(**ids).logits[0, 0])


def going_on(subject, query, edits=()):
    """Sent one token of the answer after another, gives the logits of the next one, [words]."""
    inputs = subject.encode([query])
    mask = inputs["attention_mask"]
    with subject.editing(edits), torch.no_grad():
        output = subject.model(**inputs, use_cache=True)
        while True:
            token = yield output.logits[0, -1].numpy()
            mask = torch.cat([mask, mask.new_ones(1, 1)], dim=1)
            cache = output.past_key_values
            output = subject.model(
                input_ids=torch.tensor([[token]]), attention_mask=mask, past_key_values=cache, use_cache=True
            )


def sentence(subject, put, said, seed, length, settings, edits=(), alpha=None):
    """The tokens of one candidate. put: the query and, with alpha, its other wording. said: the answer's tokens."""
    rows, new = [going_on(subject, query, edits) for query in put], []
    logits = [next(row) for row in rows]
    for token in said:
        logits = [row.send(token) for row in rows]
    for number in np.random.RandomState(seed).random_sample(length):
        own = logits[0] if alpha is None else coca_logits(*logits, alpha)
        likely = np.argsort(-own)[: settings["top_k"]]
        weights = np.exp((own[likely] - own[likely].max()) / settings["temperature"])
        new.append(int(likely[np.searchsorted(np.cumsum(weights) / weights.sum(), number, side="right")]))
        if new[-1] == subject.model.generation_config.eos_token_id or text_of(subject, new).endswith("."):
            break
        logits = [row.send(new[-1]) for row in rows]
    for row in rows:
        row.close()
    return new


def aligned(subject, scores, query, settings, tokens, edits=(), worded=None, alpha=None):
    """An aligned answer to a query, and how its sentences ended. tokens: the most that are drawn.

    worded: what other guards make of a query, in one or (with alpha) two ways.
    """
    begun, end = replace(query, begun=settings["prefix"]), subject.model.generation_config.eos_token_id
    put = [word(begun) for word in worded or [lambda query: query]]
    said, endings, number = [], [], 0
    while len(said) < tokens and endings[-1:] != ["end"]:
        number += 1
        length = min(settings["sentence_tokens"], tokens - len(said))
        drawn = [
            sentence(subject, put, said, seed_of(settings["seed"], number, n, query), length, settings, edits, alpha)
            for n in range(settings["candidates"])
        ]
        request, prefix = settings["reward_prompt"].replace("{query}", query.text), settings["prefix"]
        total = [scores.good(request, (prefix + text_of(subject, said + new)).strip()) for new in drawn]
        if number > 1 and not any(end in new for new in drawn):
            words = [text_of(subject, new).strip() for new in drawn]
            total = [own + scores.shown(query.images, text) / number for own, text in zip(total, words)]
        best = drawn[int(np.argmax(total))]
        said += best
        endings.append("end" if end in best else "stop" if text_of(subject, best).endswith(".") else "length")
    return (settings["prefix"] + text_of(subject, said)).strip(), endings


def seed_of(seed, number, candidate, query):
    content = json.dumps([seed, number, candidate, [("user", [query.text])], ""])
    return int(hashlib.sha256(content.encode()).hexdigest()[:8], 16)


def text_of(subject, tokens):
    return subject.processor.tokenizer.decode(tokens, skip_special_tokens=True)
