"""Host model classes in the manner of VLMEvalKit's, around tiny torch models; one in the manner of remote code."""

import string
from types import SimpleNamespace

import torch
from PIL import Image
from torch import nn

from helpers.architectures import tiny_vlm

LETTERS = string.printable


class HostModel:
    """What the host's base class gives."""

    dump_image_func = None

    def use_custom_prompt(self, dataset):
        return False

    def set_dump_image(self, dump_image_func):
        self.dump_image_func = dump_image_func

    def preproc_content(self, message):
        return [{"type": "text", "value": message}] if isinstance(message, str) else message


class TransformersVLM(HostModel):
    """A host's class around a transformers model: it builds the prompt, reads the images and decodes by itself."""

    def __init__(self, architecture="llava", max_new_tokens=5, dtype=torch.float32):
        self.model, self.processor = tiny_vlm(architecture, dtype)
        self.kwargs = {"max_new_tokens": max_new_tokens}

    def generate(self, message, dataset=None):
        content = [
            {"type": "image"} if part["type"] == "image" else {"type": "text", "text": part["value"]}
            for part in message
        ]
        images = [Image.open(part["value"]).convert("RGB") for part in message if part["type"] == "image"]
        template = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        inputs = self.processor(text=[template], images=images or None, return_tensors="pt").to(self.model.dtype)
        tokens = self.model.generate(**inputs, **{"do_sample": False, **self.kwargs})
        return self.processor.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


class Block(nn.Module):
    """A decoder block with names and outputs of its own: hidden states by position, a tuple out."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(width, width)
        self.up = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x, causal, past=None):
        normed = self.norm(x)
        keys = normed if past is None else torch.cat([past, normed], dim=1)
        scores = self.mix(normed) @ keys.transpose(1, 2) / keys.shape[-1] ** 0.5
        hidden = x + (scores.masked_fill(~causal, -1e9)).softmax(-1) @ keys
        return hidden + self.up(hidden), keys


class RemoteStyleModel(nn.Module):
    """A language model as remote code writes one: no transformers classes, an own config, an own decoding loop.

    depth: decoder blocks; the vision tower has as many, and runs on a black picture where there is none.
    """

    def __init__(self, depth=3, width=24, vocabulary=len(LETTERS), cached=True, tells_shape=True):
        super().__init__()
        torch.manual_seed(3)
        self.config = (
            SimpleNamespace(llm_config={"n_layer": depth, "n_embd": width}) if tells_shape else SimpleNamespace()
        )
        self.vision = nn.ModuleDict(
            {
                "patch": nn.Linear(3 * 49, width + 4),
                "blocks": nn.ModuleList(nn.Linear(width + 4, width + 4) for _ in range(depth)),
            }
        )
        self.bridge = nn.Linear(width + 4, width)
        self.transformer = nn.ModuleDict(
            {"wte": nn.Embedding(vocabulary, width), "h": nn.ModuleList(Block(width) for _ in range(depth))}
        )
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.cached = cached
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(std=0.25)

    def see(self, image):
        pixels = (
            torch.zeros(14, 14, 3)
            if image is None
            else torch.tensor(list(image.resize((14, 14)).getdata())).reshape(14, 14, 3) / 255
        )
        hidden = self.vision["patch"](pixels.reshape(2, 7, 2, 7, 3).permute(0, 2, 1, 3, 4).reshape(1, 4, -1))
        for block in self.vision["blocks"]:
            hidden = hidden + block(hidden).tanh()
        return self.bridge(hidden)

    def forward(self, embeds, past=None):
        done = 0 if past is None else past[0].shape[1]
        length = embeds.shape[1]
        causal = torch.ones(done + length, done + length, dtype=torch.bool).tril()[done:]
        kept = []
        for number, block in enumerate(self.transformer["h"]):
            embeds, keys = block(embeds, causal, None if past is None else past[number])
            kept.append(keys)
        return self.head(embeds), kept

    @torch.no_grad()
    def stream_chat(self, text, image=None, max_tokens=6):
        seen = self.see(image)
        words = self.transformer["wte"](torch.tensor([[LETTERS.index(letter) for letter in text if letter in LETTERS]]))
        whole = words if image is None else torch.cat([seen, words], dim=1)
        past, step, answer = None, whole, ""
        for _ in range(max_tokens):
            logits, kept = self(step, past)
            token = logits[0, -1].argmax()
            answer += LETTERS[int(token)]
            new = self.transformer["wte"](token[None, None])
            past = kept if self.cached else None
            whole = torch.cat([whole, new], dim=1)
            step = new if self.cached else whole
        return answer


class RemoteStyleVLM(HostModel):
    """A host's class around RemoteStyleModel, which swallows what goes wrong, as some do."""

    def __init__(self, **options):
        self.runner = SimpleNamespace(net=RemoteStyleModel(**options))

    def generate(self, message, dataset=None):
        images = [Image.open(part["value"]).convert("RGB") for part in message if part["type"] == "image"]
        text = "".join(part["value"] for part in message if part["type"] == "text")
        try:
            return self.runner.net.stream_chat(text, *images[:1])
        except Exception as error:
            return f"failed: {error}"
