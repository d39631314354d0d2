"""Any transformers image-text-to-text model as a subject, batched."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Callable, Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from vlmguard_plugin.steering.decoder import find_decoder
from vlmguard_plugin.steering.edit import Edits, editing
from vlmguard_plugin.steering.fingerprint import model_fingerprint
from vlmguard_plugin.steering.record import record_last_token
from vlmguard_plugin.subjects.base import BlankImage, ImageLike, Query, open_image
from vlmguard_plugin.subjects.blank import draw_blank

SomeEdits = Edits | Sequence[Edits]
EditsForBatch = Callable[[Sequence[Query]], SomeEdits]


class AnswersCutShort(RuntimeError):
    """Generation stopped at an error. `answers` holds what was answered before: list of str or None, by query."""

    def __init__(self, message: str, answers: list[str | None]) -> None:
        super().__init__(message)
        self.answers = answers


class HuggingFaceSubject:
    """A transformers image-text-to-text model and its processor.

    model: any model with `generate` whose language model's decoder layers can be found (see layers_path).
    processor: the model's own; prompts are built with its chat template, generation prompt included.
    batch_size: queries per pass. layers_path: name of the decoder's ModuleList, where it can't be found.

    num_layers (L), hidden_size (d) and fingerprint describe the language model and the weights.
    generated_tokens: how many have been generated so far, by all answers together.
    """

    def __init__(self, model, processor, *, batch_size: int = 8, layers_path: str | None = None) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        if not (getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)):
            raise ValueError(
                f"{type(processor).__name__} has no chat template, so prompts can't be built as the model expects them; "
                "set processor.chat_template to the model's own"
            )
        self.model = model.eval()
        self.processor = processor
        self.batch_size = batch_size
        self.generated_tokens = 0
        text_only = Query("Hello")
        self.decoder = find_decoder(model, lambda: self._prefill([text_only]), layers_path)
        self.num_layers = len(self.decoder.layers)
        self.hidden_size = self.decoder.hidden_size
        self.fingerprint = model_fingerprint(model)

    def record(self, queries: Sequence[Query], *, progress: str | None = None) -> Tensor:
        """Hidden states of the last prompt token after each decoder layer: float32 [N, L, d] on the CPU.

        progress: label of a progress bar; None shows none. Inside `guard.on(subject)` the states are edited ones.
        """
        states = torch.empty(len(queries), self.num_layers, self.hidden_size)
        with tqdm(total=len(queries), desc=progress, unit="prompt", disable=progress is None) as bar:
            for indices in self._batches(queries):
                batch = [queries[i] for i in indices]
                states[indices] = record_last_token(self.decoder, lambda: self._prefill(batch))
                bar.update(len(indices))
        return states

    def generate(
        self,
        queries: Sequence[Query],
        edits: SomeEdits | EditsForBatch | None = None,
        *,
        progress: str | None = None,
        **generation,
    ) -> list[str]:
        """One answer per query, in order, greedy unless told otherwise.

        edits: edits for all queries alike, the first acting first, or a function from a batch's queries to its edits;
            None for none.
        generation: arguments of the model's `generate` (max_new_tokens, num_beams, ...).
        Raises AnswersCutShort, with the answers so far, when a batch fails (an unreadable image, out of memory).
        """
        if generation.get("num_return_sequences", 1) != 1:
            raise ValueError("num_return_sequences must be 1: there is one answer per query; sample by calling again")
        generation = {"do_sample": False, **generation}
        answers: list[str | None] = [None] * len(queries)
        with tqdm(total=len(queries), desc=progress, unit="answer", disable=progress is None) as bar:
            for indices in self._batches(queries):
                batch = [queries[i] for i in indices]
                try:
                    batch_edits = edits(batch) if callable(edits) else edits
                    texts = self._answer(batch, batch_edits, generation)
                except (ValueError, RuntimeError, OSError) as error:
                    done = sum(answer is not None for answer in answers)
                    where = f"query {indices[0]}" if len(indices) == 1 else f"the batch of queries {indices}"
                    raise AnswersCutShort(
                        f"{where} could not be answered: {error} ({done} of {len(queries)} answers are in .answers)",
                        answers,
                    ) from error
                for index, text in zip(indices, texts):
                    answers[index] = text
                bar.update(len(indices))
        return answers

    @contextmanager
    def editing(self, edits: Edits) -> Iterator[None]:
        """While open, the model's own `generate` (and plain forward passes) run with `edits` in place."""
        with editing(self.model, self.decoder, edits, image_token_id=self.image_token_id):
            yield

    @property
    def prompt_form(self) -> str:
        """Identifies how prompts are built: a request in the model's chat template."""
        return self.prompt(Query("request"))

    @property
    def image_token_id(self) -> int | None:
        """Id of the token that stands for an image in the prompt; None where the model has none."""
        config = self.model.config
        for name in ("image_token_id", "image_token_index"):
            if getattr(config, name, None) is not None:
                return getattr(config, name)
        return None

    def prompt(self, query: Query) -> str:
        """The query in the model's own chat template, generation prompt included."""
        content = []
        for kind, parts in groupby(query.parts(), key=itemgetter(0)):
            if kind == "image":
                content += [{"type": "image"} for _ in parts]
            else:
                content.append({"type": "text", "text": "\n".join(text for _, text in parts)})
        conversation = [{"role": "user", "content": content}]
        template = self.processor if getattr(self.processor, "chat_template", None) else self.processor.tokenizer
        return template.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)

    def encode(self, queries: Sequence[Query]):
        """Model inputs for queries that have equally many images each, padded on the left, on the model's device."""
        tokenizer = self.processor.tokenizer
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        images = [[self._read(image) for image in query.images] for query in queries]
        side, tokenizer.padding_side = tokenizer.padding_side, "left"
        try:
            inputs = self.processor(
                text=[self.prompt(query) for query in queries],
                images=images if images[0] else None,
                padding=True,
                return_tensors="pt",
                add_special_tokens=self._template_lacks_bos(queries[0]),
            )
        finally:
            tokenizer.padding_side = side
        inputs = inputs.to(self.model.device)
        for name, value in inputs.items():
            if value.is_floating_point():
                inputs[name] = value.to(self.model.dtype)
        return inputs

    def _template_lacks_bos(self, query: Query) -> bool:
        bos = self.processor.tokenizer.bos_token
        return not (bos and self.prompt(query).startswith(bos))

    def _read(self, image: ImageLike) -> Image.Image:
        if isinstance(image, BlankImage):
            return draw_blank(image, self.processor.image_processor)
        if isinstance(image, Image.Image):
            return image.convert("RGB")
        with open_image(image) as opened:
            try:
                return opened.convert("RGB")
            except (OSError, ValueError) as error:
                raise ValueError(f"image {str(image)!r} can't be read ({error}); give a readable PNG or JPEG file") from error

    def _batches(self, queries: Sequence[Query]) -> Iterator[list[int]]:
        """Indices of the queries that go through the model together: equally many images, in order."""
        by_images: dict[int, list[int]] = {}
        for index, query in enumerate(queries):
            by_images.setdefault(len(query.images), []).append(index)
        for indices in by_images.values():
            for start in range(0, len(indices), self.batch_size):
                yield indices[start : start + self.batch_size]

    def _prefill(self, queries: Sequence[Query]) -> None:
        """Start a generation: the same preparation as an answer's, for as long as nobody cuts it short."""
        with torch.no_grad():
            self.model.generate(**self.encode(queries), do_sample=False, max_new_tokens=1)

    def _answer(self, queries: Sequence[Query], edits: SomeEdits | None, generation: dict) -> list[str]:
        inputs = self.encode(queries)
        with ExitStack() as stack, torch.no_grad():
            for one in [edits] if isinstance(edits, Edits) else edits or ():
                stack.enter_context(self.editing(one))
            tokens = self.model.generate(**inputs, **generation)
        new = tokens[:, inputs["input_ids"].shape[1] :]
        self.generated_tokens += int((new != self.processor.tokenizer.pad_token_id).sum())
        return [text.strip() for text in self.processor.tokenizer.batch_decode(new, skip_special_tokens=True)]
