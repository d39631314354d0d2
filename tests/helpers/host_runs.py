"""VLMEvalKit's command with a small model of its kind that converses, sets of its kinds, and a death in mid-run.

Run as a script: the arguments are the host's; after the word --then come those of one more run. $DIE_AT=n kills this
process (SIGKILL, no farewell) at the n-th batch of a HuggingFaceSubject; of several processes only number $DIE_RANK.
"""

import os
import signal
import sys
from functools import partial
from itertools import groupby
from pathlib import Path

import vlmeval.config
import vlmeval.dataset
from PIL import Image
from vlmeval.dataset.image_base import ImageBaseDataset
from vlmeval.dataset.image_mt import ImageMTDataset
from vlmeval.vlm.base import BaseModel

from helpers.architectures import tiny_vlm
from helpers.vlmeval_form import START
from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject


class Conversing(BaseModel):
    """A transformers model in the manner of the host's classes: it builds prompts and reads images by itself."""

    INTERLEAVE = True

    def __init__(self, max_new_tokens=4):
        super().__init__()
        self.model, self.processor = tiny_vlm("llava")
        self.kwargs = {"max_new_tokens": max_new_tokens, "do_sample": False}

    def generate_inner(self, message, dataset=None):
        return self.answer([{"role": "user", "content": message}])

    def chat_inner(self, message, dataset=None):
        return "said: " + self.answer(message)

    def answer(self, turns):
        kinds = {"image": lambda value: {"type": "image"}, "text": lambda value: {"type": "text", "text": value}}
        talk = [
            {"role": turn["role"], "content": [kinds[part["type"]](part["value"]) for part in turn["content"]]}
            for turn in turns
        ]
        images = [
            Image.open(part["value"]).convert("RGB")
            for turn in turns
            for part in turn["content"]
            if part["type"] == "image"
        ]
        prompt = self.processor.apply_chat_template(talk, add_generation_prompt=True)
        inputs = self.processor(text=[prompt], images=images or None, return_tensors="pt")
        tokens = self.model.generate(**inputs, **self.kwargs)
        return self.processor.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


class Mute(Conversing):
    """One that does not converse."""

    chat_inner = property()


class Turns:
    """Beside the host's own base class: what a set of the tests needs."""

    def evaluate(self, eval_file, **_):
        return None


class Conversations(Turns, ImageMTDataset):
    DATASET_URL = {"Talk_tiny": ""}


class Interleaved(Turns, ImageBaseDataset):
    """Two images each, between words."""

    TYPE = "VQA"
    DATASET_URL = {"Pairs_tiny": ""}

    def build_prompt(self, line):
        first, second = self.dump_image(line)
        words = [{"type": "text", "value": text} for text in ("First", f"and then: {line['question']}")]
        return [words[0], {"type": "image", "value": first}, words[1], {"type": "image", "value": second}]


class Films(Turns, ImageBaseDataset):
    MODALITY = "VIDEO"
    TYPE = "VQA"
    DATASET_URL = {"Films_tiny": ""}


class FilmRows(Turns, ImageBaseDataset):
    """A set that is not called one of videos, but shows one."""

    TYPE = "VQA"
    DATASET_URL = {"FilmRows_tiny": ""}

    def build_prompt(self, line):
        film = Path(os.environ["LMUData"], "film.mp4")
        film.touch()
        return [{"type": "video", "value": str(film)}, {"type": "text", "value": line["question"]}]


def die_at(batch):
    """Kill this process when it has come to this batch."""
    answer, count = HuggingFaceSubject._answer, iter(range(1, batch))

    def answer_or_die(self, *arguments):
        if next(count, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer(self, *arguments)

    HuggingFaceSubject._answer = answer_or_die


if __name__ == "__main__":
    vlmeval.config.supported_VLM.update({"Conversing": partial(Conversing), "Mute": partial(Mute)})
    for cls in (Conversations, Interleaved, Films, FilmRows):
        setattr(vlmeval.dataset, cls.__name__, cls)
        vlmeval.dataset.DATASET_CLASSES.append(cls)
    for cls in (vlmeval.dataset.ImageMCQDataset, vlmeval.dataset.MMDUDataset):
        cls.DATASET_MD5 = {}  # small sets stand under the names of its own
    if os.environ.get("DIE_AT") and os.environ.get("RANK", "0") == os.environ.get("DIE_RANK", "0"):
        die_at(int(os.environ["DIE_AT"]))
    for then, words in groupby(sys.argv[1:], "--then".__eq__):
        if not then:
            sys.argv[1:] = words
            exec(START, {})
