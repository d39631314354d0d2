"""Models beside the subject that score what it sees and says: CLIP, and a reward model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, NamedTuple, Sequence

from PIL import Image

from vlmguard_plugin.files import expanded
from vlmguard_plugin.lazy import torch, transformers
from vlmguard_plugin.pictures.meaningless import draw_blank
from vlmguard_plugin.query import BlankImage, ImageLike, read_image


@dataclass
class ClipScores:
    """How well texts and pictures go together, by a CLIP model: its logits / 100, the cosine of published ones.

    name: what its checkpoint was called.
    """

    name: str
    model: Any
    processor: Any

    @classmethod
    def load(cls, name: str, device: str) -> ClipScores:
        """From a folder or hub name, in float32. ValueError, in one line, where it is no CLIP model or can't be had."""
        from vlmguard_plugin.subjects.text_models import check_reads

        model = loaded_whole("clip", name, transformers.CLIPModel, device, torch.float32)
        processor = of_checkpoint("clip", name, lambda place: transformers.CLIPProcessor.from_pretrained(place))
        scores = cls(name, model, processor)
        of_checkpoint("clip", name, lambda _: check_reads(lambda text: scores.inputs([], [text])["input_ids"].tolist()))
        of_checkpoint("clip", name, lambda _: scores.scores([Image.new("RGB", (64, 64))], ["Hi."]))  # its pixels
        return scores

    def picture(self, image: ImageLike) -> Image.Image:
        """An image's pixels, RGB."""
        return draw_blank(image, self.processor.image_processor) if isinstance(image, BlankImage) else read_image(image)

    def scores(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> list[float]:
        """Of each text, beside the picture that it goes best with. A text's beginning counts, where it is long."""
        with torch.no_grad():
            logits = self.model(**self.inputs(pictures, texts).to(self.model.device)).logits_per_image
        return [finite("clip", self.name, score) for score in (logits / 100).max(dim=0).values.tolist()]

    def inputs(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> Any:
        """What the model is given for them, on the CPU; for texts alone without pixels."""
        most = self.model.config.text_config.max_position_embeddings
        how = {"return_tensors": "pt", "padding": True, "truncation": True, "max_length": most}
        return self.processor(text=list(texts), images=list(pictures) or None, **how)


@dataclass
class RewardScores:
    """How good an answer to a request is, by a reward model: the one number that it gives, as it is.

    name: what its checkpoint was called. context: tokens that it reads.
    """

    name: str
    model: Any
    tokenizer: Any
    context: int

    @classmethod
    def load(cls, name: str, device: str) -> RewardScores:
        """From a folder or hub name, in what the device computes well.

        ValueError, in one line, where it is no sequence classifier with one label or can't be had.
        """
        from vlmguard_plugin.subjects.text_models import check_reads, context_length

        kind = transformers.AutoModelForSequenceClassification
        model = loaded_whole("reward_model", name, kind, device, None)
        if model.config.num_labels != 1:
            raise ValueError(
                f"reward_model {name!r} gives {model.config.num_labels} numbers for an answer; give a sequence "
                "classifier with one label, as reward models are"
            )
        tokenizer = of_checkpoint(
            "reward_model",
            name,
            lambda place: transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False),
        )
        tokenizer.truncation_side = "left"
        scores = cls(name, model, tokenizer, context_length(model.config, tokenizer))

        def answer_read(text: str) -> Any:
            return scores.inputs("Hi.", text)["input_ids"].tolist()

        of_checkpoint("reward_model", name, lambda _: check_reads(answer_read))  # by its template
        of_checkpoint("reward_model", name, lambda _: scores.score("Hi.", "Hello."))  # its numbers
        return scores

    def score(self, request: str, answer: str) -> float:
        """Of an answer, by itself, so that no other one changes it. Too long a text is cut at its beginning."""
        with torch.no_grad():
            logits = self.model(**self.inputs(request, answer).to(self.model.device)).logits
        return finite("reward_model", self.name, float(logits.float().item()))

    def inputs(self, request: str, answer: str) -> Any:
        """Both in the tokenizer's chat template, on the CPU; without one as a pair of texts."""
        from vlmguard_plugin.subjects.text_models import plain_words

        said, how = [plain_words(text, self.tokenizer) for text in (request, answer)], {}
        if self.tokenizer.chat_template:
            turns = [{"role": role, "content": text} for role, text in zip(("user", "assistant"), said)]
            said, how = [self.tokenizer.apply_chat_template(turns, tokenize=False)], {"add_special_tokens": False}
        return self.tokenizer(*said, return_tensors="pt", truncation=True, max_length=self.context, **how)


class Evaluators(NamedTuple):
    """Both of them."""

    clip: ClipScores
    reward: RewardScores

    @classmethod
    def load(cls, clip: str, reward_model: str, device: str) -> Evaluators:
        """By the names of their checkpoints."""
        return cls(ClipScores.load(clip, device), RewardScores.load(reward_model, device))


def finite(setting: str, name: str, score: float) -> float:
    """The score; ValueError for one that is no number, which no threshold would hold."""
    if not math.isfinite(score):
        raise ValueError(
            f"{setting} {name!r} gives the score {score}; its numbers overflow in its dtype or the checkpoint is "
            "damaged: save it in bfloat16 or float32, or give another"
        )
    return score


def loaded_whole(setting: str, name: str, kind: Any, device: str, dtype: Any) -> Any:
    """A model of this class of transformers', all of whose weights are in its checkpoint.

    dtype: None for what the device computes well. ValueError names the setting, the checkpoint and the remedy.
    """
    from vlmguard_plugin.subjects.devices import default_dtype

    def load(place: str | Path) -> Any:
        config = transformers.AutoConfig.from_pretrained(place, trust_remote_code=False)
        if kind.__name__ in (getattr(config, "auto_map", None) or {}):
            raise ValueError("trust_remote_code")  # else transformers loads what it can of it, and makes up the rest
        if not isinstance(config, getattr(kind, "config_class", None) or type(config)):
            raise ValueError(f"it is of the type {config.model_type!r}; give a {kind.__name__}")
        return kind.from_pretrained(
            place,
            dtype=dtype or default_dtype(device, getattr(config, "dtype", None)),
            device_map={"": device},
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=False,
        )

    model, loaded = of_checkpoint(setting, name, load)
    lacking = sorted(loaded["missing_keys"])
    if lacking:
        raise ValueError(
            f"{setting} {name!r} has no weights {lacking[0]}{' and others' if lacking[1:] else ''}, which would be "
            f"random: it is no whole {setting.replace('_', ' ')}; give the checkpoint of one"
        )
    return model.eval()


def of_checkpoint(setting: str, name: str, load: Callable[[str | Path], Any]) -> Any:
    """What `load` makes of a checkpoint's place; ValueError, in one line, names the setting where it fails."""
    from vlmguard_plugin.subjects.loading import NotHere, nothing_run, place_of

    try:
        place = place_of(folder if (folder := expanded(name)).is_dir() else name)
        with nothing_run(name, instead=""):
            return load(place)
    except NotHere:
        raise
    except Exception as error:  # whatever a strange checkpoint leads transformers to
        why = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{setting} {name!r} can't be used: {why}") from error
