"""Queries as model inputs: the model's own chat template, its tokenizer and its image processor."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import Any, Sequence

import torch
from PIL import Image
from torch import Tensor

from vlmguard_plugin.pictures.meaningless import draw_blank
from vlmguard_plugin.query import BlankImage, ImageLike, Query, Turn, read_image
from vlmguard_plugin.reading import in_line
from vlmguard_plugin.subjects.text_models import check_reads

MEDIA = r"(?:image|img|video|audio|vision|visual|speech|sound|frame|boi|eoi|boa|eoa)"
MEDIA_ATTRIBUTE = re.compile(rf"(?:\w*_)?{MEDIA}\w*_token")
"""What attributes are called that hold the token of an image, a video or a sound."""
MEDIA_TOKEN_ID = re.compile(rf"(?:\w*_)?{MEDIA}\w*_token_(?:id|index)")
"""What a configuration calls such a token's number."""
MEDIA_TOKEN = re.compile(rf"[<\[](?!.*\s).*(?:(?<![a-z]){MEDIA}|row_\d+_col_\d+).*[>\]]", re.IGNORECASE)
"""What such tokens look like where nothing else says so: a word between brackets."""
NAMES_ALONE = ("image_processor_type", "feature_extractor_type", "processor_class", "_processor_class", "name_or_path")
"""What an image processor says of itself that changes no picture."""


class PromptBuilder:
    """Builds a model's prompts from queries with the model's own processor.

    processor: a transformers processor with a tokenizer. config: the model's, which may name the image token.
    Raises ValueError for a processor without a chat template, and for a tokenizer that reads all texts alike.
    """

    def __init__(self, processor: Any, config: Any) -> None:
        if not (getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)):
            raise ValueError(
                f"{type(processor).__name__} has no chat template, so prompts can't be built as the model expects "
                "them; set processor.chat_template to the model's own"
            )
        self.processor = processor
        self.tokenizer = processor.tokenizer
        try:
            check_reads(lambda text: self.tokens(text, special=False), self.tokenizer)
        except ValueError as error:
            raise ValueError(f"{type(self.tokenizer).__name__} can't be used: {error}") from error
        self._vocabulary: tuple[tuple[Any, Any, int], str] | None = None
        self.image_token_id = image_token_id(config)
        self.media_token_ids = media_token_ids(config)
        self.longest: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
        self._told_of_length = False

    @property
    def image_token(self) -> str | None:
        """What stands for an image in the prompt's text; None where the model has nothing."""
        token: str | None = getattr(self.processor, "image_token", None)
        if token is None and self.image_token_id is not None:
            token = self.tokenizer.decode([self.image_token_id])
        return token

    @cached_property
    def media_marks(self) -> tuple[str, ...]:
        """What in somebody's words would be taken for an image, video or sound, or its beginning, end or part.

        From the processor's and tokenizer's attributes (`video_token`, ...), the configuration (`video_token_id`, ...)
        and the tokenizer's own tokens that are named so; the longest first.
        """
        named = [*vars(self.processor).items(), *self._named_tokens()]
        marks = [value for name, value in named if MEDIA_ATTRIBUTE.fullmatch(name)]
        marks += [value for _, value in named if isinstance(value, str) and MEDIA_TOKEN.fullmatch(value)]
        marks += [self.tokenizer.decode([token]) for token in self.media_token_ids]
        marks.append(self.image_token)
        distinct = {mark for mark in marks if isinstance(mark, str) and len(mark) > 1 and mark.strip() == mark}
        return tuple(sorted(distinct, key=lambda mark: (-len(mark), mark)))

    def _named_tokens(self) -> list[tuple[str, Any]]:
        """(name, text) of the tokenizer's special and added tokens; "" for those without a name."""
        special = getattr(self.tokenizer, "special_tokens_map", {})
        added = getattr(self.tokenizer, "added_tokens_decoder", {})
        return [*special.items(), *(("", str(token)) for token in added.values())]

    def readable(self, words: str) -> str:
        """Somebody's words with what would be taken for an image (or another medium) broken up by a space."""
        for mark in self.media_marks:
            words = words.replace(mark, f"{mark[0]} {mark[1:]}")
        return words

    @property
    def form(self) -> str:
        """Identifies how queries become inputs: a request in the chat template, the tokenizer, the image processor."""
        vocabulary = self._vocabulary_hash()
        images = getattr(self.processor, "image_processor", None)
        settings = images.to_dict() if images is not None else {}
        kept = {name: value for name, value in settings.items() if name not in NAMES_ALONE and value is not None}
        pictures = json.dumps(kept, sort_keys=True, default=str)
        shown = self.prompt(Query("request", (BlankImage(),))) if self.image_token else ""
        whole = [self.prompt(Query("request")), shown, vocabulary, pictures]
        return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:12]

    def _vocabulary_hash(self) -> str:
        """Of the tokenizer's words and their numbers. Kept: of 150,000 words it takes half a second.

        Worked out again for another tokenizer, another one behind it, and a vocabulary of another length.
        """
        of = (self.tokenizer, getattr(self.tokenizer, "backend_tokenizer", None), len(self.tokenizer))
        kept = self._vocabulary
        if kept is None or kept[0][0] is not of[0] or kept[0][1] is not of[1] or kept[0][2] != of[2]:
            words = json.dumps(sorted(self.tokenizer.get_vocab().items()))
            self._vocabulary = kept = (of, hashlib.sha256(words.encode()).hexdigest())
        return kept[1]

    @property
    def prefix_token_id(self) -> int:
        """The token that texts begin with: the tokenizer's bos token, or its eos token where it has none."""
        first: int | None = self.tokenizer.bos_token_id
        return int(self.tokenizer.eos_token_id if first is None else first)

    def prompt(self, query: Query) -> str:
        """The query's conversation in the model's own chat template, generation prompt or begun answer included.

        A raw query's is its text with the image token in the images' places; the token that texts begin with, if empty.
        Tokens of images, videos and sounds in somebody's words are broken up by a space: there is none for them.
        """
        turns = [self._readable(turn) for turn in query.turns()]
        if query.raw:
            parts = [self.image_token if kind == "image" else value for kind, value in turns[-1].parts]
            return "".join(str(part) for part in parts) or str(self.tokenizer.decode([self.prefix_token_id]))
        if query.begun:
            turns.append(self._readable(Turn("assistant", (("text", query.begun),))))
        conversation = [{"role": turn.role, "content": template_content(turn)} for turn in turns]
        template = self.processor if getattr(self.processor, "chat_template", None) else self.tokenizer
        prompt: str = template.apply_chat_template(
            conversation,
            add_generation_prompt=not query.begun,
            continue_final_message=bool(query.begun),
            tokenize=False,
        )
        return prompt

    def inputs(
        self, queries: Sequence[Query], answers: Sequence[str] | None, device: torch.device, dtype: torch.dtype
    ) -> Any:
        """Model inputs for queries with equally many images each, earlier turns' included, padded on the left.

        answers: text behind each prompt, read as part of it. A prompt that is longer than the model was made for is
        said once, in one line on stderr. Raises ValueError for a processor that takes no text without a picture.
        """
        tokenizer = self.tokenizer
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        images = [[self.read(image) for image in query.all_images] for query in queries]
        texts = [
            self.prompt(query) + answer for query, answer in zip(queries, answers or [""] * len(queries), strict=True)
        ]
        side, tokenizer.padding_side = tokenizer.padding_side, "left"
        try:
            inputs = self.processor(
                text=texts,
                images=images if images[0] else None,
                padding=True,
                return_tensors="pt",
                add_special_tokens=self.lacks_first_token(queries[0]),
            )
        except ValueError as error:
            if images[0] or "image" not in str(error):
                raise
            raise ValueError(
                f"{type(self.processor).__name__} takes no text without a picture ({in_line(error)}), and guards are "
                "fitted on text; VLMEvalKit's own model under a guard (MODEL_GUARD) is shown a blank one there"
            ) from error
        finally:
            tokenizer.padding_side = side
        self._tell_of_length(inputs["input_ids"].shape[1])
        inputs = inputs.to(device)
        for name, value in inputs.items():
            if value.is_floating_point():
                inputs[name] = value.to(dtype)
        return inputs

    def _tell_of_length(self, tokens: int) -> None:
        """Say once that prompts are longer than the model was made for: it reads them all the same."""
        if self.longest and tokens > self.longest and not self._told_of_length:
            self._told_of_length = True
            print(
                f"vlmguard: a prompt of {tokens} tokens is longer than the {self.longest} that the model was made for "
                "(max_position_embeddings); what it says and what is fitted on it is not to be relied on",
                file=sys.stderr,
            )

    def padded(self, rows: Sequence[Sequence[int]], device: torch.device) -> dict[str, Tensor]:
        """Rows of tokens as model inputs, padded on the left."""
        length, pad = max(map(len, rows)), self.tokenizer.pad_token_id or 0
        ids = torch.tensor([[pad] * (length - len(row)) + list(row) for row in rows])
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
        return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}

    def tokens(self, text: str, special: bool) -> list[int]:
        """Tokens of a text; special: with those that the tokenizer adds."""
        return list(self.tokenizer(text, add_special_tokens=special)["input_ids"])

    def lacks_first_token(self, query: Query) -> bool:
        """Whether the query's prompt is without the token that texts begin with; the tokenizer then has to add it."""
        first = self.tokenizer.bos_token
        return not (first and self.prompt(query).startswith(first))

    def read(self, image: ImageLike) -> Image.Image:
        """An image's pixels, RGB. ValueError names one that can't be read."""
        if isinstance(image, BlankImage):
            return draw_blank(image, self.processor.image_processor)
        return read_image(image)

    def _readable(self, turn: Turn) -> Turn:
        parts = (
            (kind, self.readable(value) if kind == "text" and isinstance(value, str) else value)
            for kind, value in turn.parts
        )
        return Turn(turn.role, tuple(parts))


def image_token_id(config: Any) -> int | None:
    """Id of the token that stands for an image in the prompt; None where the model has none."""
    for name in ("image_token_id", "image_token_index"):
        token: int | None = getattr(config, name, None)
        if token is not None:
            return token
    return None


def media_token_ids(config: Any) -> tuple[int, ...]:
    """Ids of the tokens of images, videos and sounds that a configuration names."""
    named = vars(config).items() if hasattr(config, "__dict__") else ()
    return tuple(token for name, token in named if MEDIA_TOKEN_ID.fullmatch(name) and type(token) is int and token >= 0)


def template_content(turn: Turn) -> list[dict[str, str]]:
    """A turn's parts as chat templates take them; texts that follow each other are joined by line breaks."""
    content = []
    for kind, parts in groupby(turn.parts, key=itemgetter(0)):
        if kind == "image":
            content += [{"type": "image"} for _ in parts]
        else:
            content.append({"type": "text", "text": "\n".join(str(text) for _, text in parts)})
    return content
