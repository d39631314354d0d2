"""Edit hidden states while a model generates: follow its passes, decide in the prefill, edit what is to be edited."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, Iterator, NamedTuple, Sequence
from weakref import WeakKeyDictionary

from vlmguard_plugin.lazy import torch
from vlmguard_plugin.steering.decoder import Decoder, hidden_state, with_hidden_state
from vlmguard_plugin.steering.edit import Edits, LayerEdit, Prompts, on_device
from vlmguard_plugin.steering.passes import Pass, hearing_passes, last_token

if TYPE_CHECKING:
    from torch import Tensor, nn

_owners: WeakKeyDictionary[nn.Module, list[int]] = WeakKeyDictionary()


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
    """A generation's first pass. prompt: bool [rows, tokens], its real tokens. has_image: bool [rows].

    answer: bool [rows, tokens], tokens of an answer that is given with its prompt; None if there is none.
    last: int64 [rows], the column of the last prompt token.
    """

    prompt: Tensor
    answer: Tensor | None
    last: Tensor
    has_image: Tensor


class _Edited(NamedTuple):
    """Which tokens of one pass are edited: those of a mask, one column of each row, or without either every token.

    mask: bool [rows, tokens]. columns: int64 [rows]. Both on the device of the first decoder layer.
    """

    mask: Tensor | None = None
    columns: Tensor | None = None


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
        self.layers = frozenset(edits.by_layer)
        self.image_token_id = image_token_id
        self.known_image = has_image
        self.answer_tokens = answer_tokens or (lambda: None)
        self.thread = threading.get_ident()
        self.model_name = type(model).__name__
        self.in_generate = one_generation
        self.reached: set[int] = set()  # edited layers that the generation's prefill went through
        self.restart()

    def restart(self) -> None:
        self.prefill: _Prefill | None = None
        self.prefilling = False
        self.seen = 0  # tokens that the layers have been through, padding included
        self.edited: _Edited | None = None  # tokens of the pass under way; None where it edits none
        self.states: dict[int, Tensor] = {}
        self.placed: dict[int, LayerEdit] = {}
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
            self.reached = set()
            was, self.in_generate = self.in_generate, True
            try:
                generated = generate(*args, **kwargs)
            finally:
                self.in_generate = was
                self.restart()
            missed = sorted(self.layers - self.reached)
            if missed:
                raise RuntimeError(
                    f"{self.model_name} generated without its decoder layers {missed} being reached, so they were not "
                    "edited; a model that was compiled before it is guarded runs past its layers: guard it first, or "
                    "leave torch.compile out"
                )
            return generated

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
            prompt, answer = split(heard.mask(), self.answer_tokens())
            self.prefill = _Prefill(prompt, answer, last_token(prompt), has_image)
            self.prefilling = True
            self.seen = heard.tokens
            self.edited = self.edited_tokens(self.prefill, heard.tokens)
            return
        self.prefilling = False
        rows = len(self.prefill.prompt)
        if heard.rows != rows:
            raise RuntimeError(
                f"the batch changed from {rows} to {heard.rows} rows within one generation; use greedy search, "
                "sampling or beam search"
            )
        rerun = heard.tokens > self.seen  # without a KV cache every pass holds the whole sequence
        self.seen = heard.tokens if rerun else self.seen + heard.tokens
        if rerun:
            self.edited = self.edited_tokens(self.prefill, heard.tokens)
        else:
            self.edited = _Edited() if self.positions in ("generated", "all") else None

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
                self.decide(index, edit, hidden, prefill)
            if edit is None or self.edited is None:
                return None
            return with_hidden_state(output, self.apply(index, hidden, self.edited))

        return hook

    def decide(self, index: int, edit: LayerEdit | None, hidden: Tensor, prefill: _Prefill) -> None:
        """Note a layer's last prompt tokens, and what its edit decides by them. hidden: [rows, tokens, d]."""
        device = hidden.device
        last = hidden[row_numbers(hidden), prefill.last.to(device)].float()
        self.states[index] = last
        if edit is not None:
            states = {layer: state.to(device) for layer, state in self.states.items()}
            self.placed[index] = on_device(edit, device)
            self.decisions[index] = self.placed[index].decide(last, Prompts(prefill.has_image.to(device), states))
            self.reached.add(index)

    def apply(self, index: int, hidden: Tensor, edited: _Edited) -> Tensor:
        """A layer's hidden states [rows, tokens, d] with its edit in place. Never waits for the device."""
        edit, decision = self.placed[index], self.decisions[index].unsqueeze(1)
        if edited.columns is not None:
            where = row_numbers(hidden), edited.columns.to(hidden.device)
            result = hidden.clone()
            result[where] = edit.apply(hidden[where].unsqueeze(1).float(), decision).squeeze(1).to(hidden.dtype)
            return result
        result = edit.apply(hidden.float(), decision).to(hidden.dtype)
        if edited.mask is None:
            return result
        return torch.where(edited.mask.to(hidden.device).unsqueeze(-1), result, hidden)

    def edited_tokens(self, prefill: _Prefill, length: int) -> _Edited | None:
        """Which tokens of a pass that begins with the prompt, `length` tokens, are edited; None if none."""
        rows, prompt_length = prefill.prompt.shape
        if self.positions == "last":
            return _Edited(columns=prefill.last)
        if self.positions == "generated" and prefill.answer is None and length == prompt_length:
            return None
        mask = torch.zeros_like(prefill.prompt) if self.positions == "generated" else prefill.prompt
        decoded = self.positions in ("generated", "all")
        if decoded and prefill.answer is not None:
            mask = mask | prefill.answer
        after = torch.full((rows, length - prompt_length), decoded, device=mask.device)
        return _Edited(mask=torch.cat([mask, after], dim=1))


def row_numbers(hidden: Tensor) -> Tensor:
    """The rows of hidden states [rows, ...], int64 [rows], on their device."""
    return torch.arange(hidden.shape[0], device=hidden.device)


def split(real: Tensor, answer_tokens: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Real tokens, bool [rows, tokens], as those of the prompt and the last `answer_tokens` [rows] of each row."""
    if answer_tokens is None:
        return real, None
    from_last = real.flip(1).cumsum(1).flip(1)
    prompt = real & (from_last > answer_tokens.to(real.device).unsqueeze(1))
    return prompt, real & ~prompt
