"""Edit hidden states while a model generates.

An edit is decided once a generation, per row, from the hidden state of the last prompt token as the layer
puts it out in the prefill (edits of earlier layers included), and is kept for the whole answer.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, NamedTuple, Protocol, Sequence
from weakref import WeakKeyDictionary

from vlmguard_plugin.lazy import torch
from vlmguard_plugin.steering.decoder import Decoder, hidden_state, with_hidden_state
from vlmguard_plugin.steering.passes import Pass, hearing_passes, last_token

if TYPE_CHECKING:
    from torch import Tensor, nn

POSITIONS = ("last", "prompt", "generated", "all")
_owners: WeakKeyDictionary[nn.Module, list[int]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Prompts:
    """What an edit may know of the batch it is decided for.

    has_image: bool [rows], which prompts hold an image; rows counts beams and returned sequences.
    states: the last prompt token's hidden states [rows, d] after the layers heard so far that are edited or
        watched, by layer.
    """

    has_image: Tensor
    states: Mapping[int, Tensor] = field(default_factory=dict)

    def repeat(self, per_query: Tensor) -> Tensor:
        """Values [queries, ...] repeated to [rows, ...]: beams of one query lie next to each other."""
        rows, queries = len(self.has_image), len(per_query)
        if rows % queries:
            raise ValueError(
                f"edits were made for {queries} queries but the batch has {rows} rows; give the same queries"
            )
        return per_query.repeat_interleave(rows // queries, dim=0)


class LayerEdit(Protocol):
    """What is done to the residual stream after one decoder layer, in float32."""

    def decide(self, last: Tensor, prompts: Prompts) -> Tensor:
        """From the last prompt tokens [rows, d]: whatever is kept for the answer, [rows, ...]."""

    def apply(self, hidden: Tensor, decision: Tensor) -> Tensor:
        """Edited hidden states [k, d], from hidden [k, d] and their rows' decisions [k, ...]."""


@dataclass(frozen=True)
class Edits:
    """Edits by 0-based decoder layer, and the positions they act on.

    positions: "last" (last prompt token, in the prefill only), "prompt" (all prompt tokens),
    "generated" (each new token as it is decoded) or "all". Padding is never read or edited.
    watched: layers whose last prompt token later layers decide by, beside their own.
    """

    by_layer: Mapping[int, LayerEdit]
    positions: str = "last"
    watched: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.positions not in POSITIONS:
            raise ValueError(f"positions is {self.positions!r}; choose one of {', '.join(POSITIONS)}")


SomeEdits = Edits | Sequence[Edits]
"""Edits, or several that act one after the other."""


def as_edits(edits: SomeEdits | None) -> tuple[Edits, ...]:
    """Edits in the order in which they act; empty for None."""
    if edits is None:
        return ()
    return (edits,) if isinstance(edits, Edits) else tuple(edits)


@contextmanager
def editing(
    model: nn.Module,
    decoder: Decoder,
    edits: Edits,
    *,
    image_token_id: int | None = None,
    has_image: Callable[[], bool] | None = None,
    answer_tokens: Callable[[], Tensor | None] | None = None,
    one_generation: bool = False,
) -> Iterator[None]:
    """While open, every generation (or plain forward pass) of `model` has `edits` in place.

    A generation's first pass is its prefill, whatever its length and with the KV cache on or off; outside
    `generate`, a pass with an empty cache starts a new one. Contexts nest, the outer one editing first.
    A second thread is refused. Hooks come off on the way out, also after an error.

    image_token_id: token that stands for an image in the prompt. has_image: whether the prompt under way
    holds an image, where the caller knows. answer_tokens: int [rows], how many of each row's last tokens in a
    generation's first pass are no prompt but an answer's, which are edited as if they were being decoded; None for
    none.
    one_generation: all passes belong to one generation, also outside `generate` (a model
    that decodes in a loop of its own).
    """
    generations = _EditedGenerations(model, edits, image_token_id, has_image, answer_tokens, one_generation)
    owners = _owners.setdefault(model, [])
    if owners and owners[-1] != generations.thread:
        raise RuntimeError(
            f"another thread is already editing this {type(model).__name__}; guard one model from one thread at a time"
        )
    owners.append(generations.thread)
    handles = []
    generators = [module for module in dict.fromkeys((model, *decoder.callers)) if hasattr(module, "generate")]
    try:
        for index in sorted({*edits.by_layer, *edits.watched}):
            handles.append(
                decoder.layers[index].register_forward_hook(generations.layer_hook(index, edits.by_layer.get(index)))
            )
        with replaced_generate(generators, generations.generation), hearing_passes(decoder, generations.begin_pass):
            yield
    finally:
        for handle in handles:
            handle.remove()
        owners.pop()


@contextmanager
def replaced_generate(
    modules: Sequence[nn.Module], wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """While open, each module's `generate` is what `wrap` makes of it."""
    own = {module: vars(module).get("generate") for module in modules}
    try:
        for module in modules:
            edited: Any = module
            edited.generate = wrap(edited.generate)
        yield
    finally:
        for module, generate in own.items():
            vars(module).pop("generate", None)
            if generate is not None:
                restored: Any = module
                restored.generate = generate


class _Prefill(NamedTuple):
    """A generation's first pass. prompt, answer: bool [rows, tokens], its real tokens. has_image: bool [rows].

    answer: tokens of an answer that is given with its prompt.
    """

    prompt: Tensor
    answer: Tensor
    has_image: Tensor


class _EditedGenerations:
    """The state of one open context: the generation under way, and what was decided at its prefill."""

    def __init__(
        self,
        model: nn.Module,
        edits: Edits,
        image_token_id: int | None,
        has_image: Callable[[], bool] | None,
        answer_tokens: Callable[[], Tensor | None] | None,
        one_generation: bool,
    ) -> None:
        self.positions = edits.positions
        self.image_token_id = image_token_id
        self.known_image = has_image
        self.answer_tokens = answer_tokens or (lambda: None)
        self.thread = threading.get_ident()
        self.model_name = type(model).__name__
        self.in_generate = one_generation
        self.restart()

    def restart(self) -> None:
        self.prefill: _Prefill | None = None
        self.prefilling = False
        self.seen = 0  # tokens that the layers have been through, padding included
        self.offset = 0  # absolute position of the first token of this pass
        self.states: dict[int, Tensor] = {}
        self.decisions: dict[int, Tensor] = {}

    def generation(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        """`generate`, told here, so that its first pass is known to be the prefill."""

        def generate_edited(*args: Any, **kwargs: Any) -> Any:
            config = kwargs.get("generation_config")
            for option in ("prefill_chunk_size", "assistant_model", "prompt_lookup_num_tokens"):
                if kwargs.get(option) or getattr(config, option, None):
                    raise ValueError(
                        f"generate({option}=...) splits or guesses passes, which edits decided once a prefill can't "
                        f"follow; leave {option} out"
                    )
            self.restart()
            was, self.in_generate = self.in_generate, True
            try:
                return generate(*args, **kwargs)
            finally:
                self.in_generate = was
                self.restart()

        return generate_edited

    def begin_pass(self, heard: Pass) -> None:
        if threading.get_ident() != self.thread:
            raise RuntimeError(
                f"this {self.model_name} is being edited by another thread; guard one model from one thread at a time"
            )
        if not self.in_generate and heard.cache_is_empty():
            self.restart()
        if self.prefill is None:
            has_image = heard.has_image(self.image_token_id)
            if self.known_image is not None:
                has_image = torch.full_like(has_image, self.known_image())
            self.prefill = _Prefill(*split(heard.mask(), self.answer_tokens()), has_image)
            self.prefilling = True
            self.seen = heard.tokens
        else:
            self.prefilling = False
            rows = len(self.prefill.prompt)
            if heard.rows != rows:
                raise RuntimeError(
                    f"the batch changed from {rows} to {heard.rows} rows within one generation; use greedy search, "
                    "sampling or beam search"
                )
            rerun = heard.tokens > self.seen  # without a KV cache every pass holds the whole sequence
            self.offset = 0 if rerun else self.seen
            self.seen = self.offset + heard.tokens

    def layer_hook(self, index: int, edit: LayerEdit | None) -> Callable[..., Any]:
        """What is called behind a layer: notes the last prompt token in the prefill, and edits."""

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            hidden = hidden_state(output)
            prefill = self.prefill
            if prefill is None:
                raise RuntimeError(
                    f"decoder layer {index} of {self.model_name} was called by itself, outside a pass through the "
                    "decoder, so it can't be edited; call the model"
                )
            if self.prefilling:
                rows = torch.arange(hidden.shape[0], device=hidden.device)
                last = hidden[rows, last_token(prefill.prompt).to(hidden.device)].float()
                self.states[index] = last
                if edit is not None:
                    states = {layer: state.to(hidden.device) for layer, state in self.states.items()}
                    self.decisions[index] = edit.decide(last, Prompts(prefill.has_image.to(hidden.device), states))
            if edit is None:
                return None
            rows, columns = self.selected(prefill, hidden.shape[1]).to(hidden.device).nonzero(as_tuple=True)
            if not len(rows):
                return None
            edited = edit.apply(hidden[rows, columns].float(), self.decisions[index][rows])
            result = hidden.clone()
            result[rows, columns] = edited.to(hidden.dtype)
            return with_hidden_state(output, result)

        return hook

    def selected(self, prefill: _Prefill, length: int) -> Tensor:
        """Which tokens of this pass are edited: bool [rows, length]."""
        rows, prompt_length = prefill.prompt.shape
        if self.positions == "last":
            prompt = torch.zeros_like(prefill.prompt)
            prompt[torch.arange(rows, device=prompt.device), last_token(prefill.prompt)] = True
        elif self.positions == "generated":
            prompt = torch.zeros_like(prefill.prompt)
        else:
            prompt = prefill.prompt
        new = self.positions in ("generated", "all")
        if new:
            prompt = prompt | prefill.answer
        after = torch.full((rows, max(0, self.offset + length - prompt_length)), new, device=prompt.device)
        return torch.cat([prompt, after], dim=1)[:, self.offset : self.offset + length]


def split(real: Tensor, answer_tokens: Tensor | None) -> tuple[Tensor, Tensor]:
    """Real tokens, bool [rows, tokens], as those of the prompt and the last `answer_tokens` [rows] of each row."""
    if answer_tokens is None:
        return real, torch.zeros_like(real)
    from_last = real.flip(1).cumsum(1).flip(1)
    prompt = real & (from_last > answer_tokens.to(real.device).unsqueeze(1))
    return prompt, real & ~prompt
