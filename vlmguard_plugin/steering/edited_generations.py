"""What one open context of edits makes of the passes it hears: to which generation they belong, and what is edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Iterable

from vlmguard_plugin.lazy import torch
from vlmguard_plugin.steering.edit import Edits, LayerEdit, Prompts, on_device
from vlmguard_plugin.steering.generation import DECODED, EditedTokens, Generation, Prefill, edited_tokens, prefill_of
from vlmguard_plugin.steering.passes import Pass

if TYPE_CHECKING:
    from torch import Tensor


class EditedGenerations:
    """The generations that go on under one open context, the innermost last, and what is edited in them."""

    def __init__(
        self,
        edits: Edits,
        model_name: str,
        image_token_id: int | None,
        has_image: Callable[[], bool | None] | None,
        answer_tokens: Callable[[], Tensor | None],
        own_loop: bool,
    ) -> None:
        self.edits = edits
        self.model_name = model_name
        self.image_token_id = image_token_id
        self.known_image = has_image
        self.answer_tokens = answer_tokens
        self.own_loop = own_loop
        self.generations = [Generation()]
        self.prefilling = False
        self.tokens: EditedTokens | None = None  # of the pass under way; None where it edits none
        self.reached: set[int] = set()  # edited layers that the pass under way went through
        self.finite: dict[int, Tensor] = {}  # bool [], by edited layer, of what was decided in the pass under way

    def begin_pass(self, heard: Pass) -> None:
        self.reached = set()
        self.finite = {}
        generation = self.following(heard)
        if generation.prefill is None:
            self.prefilling = True
            generation.check_whole(heard)
            prompts = [
                outer.given.ids for outer in reversed(self.generations) if outer.given and outer.given.ids is not None
            ]
            prefill = prefill_of(heard, generation.given, prompts, self.image_token_id, self.answer_tokens())
            known = self.known_image() if self.known_image is not None else None
            if known is not None:
                rows = torch.full((heard.rows,), known, dtype=torch.bool, device=heard.device)
                prefill = prefill._replace(has_image=rows)
            generation.start(heard, prefill)
            self.tokens = edited_tokens(prefill, heard.tokens, self.edits.positions)

    def following(self, heard: Pass) -> Generation:
        """The generation that a pass belongs to; a new one, outside `generate`, where it belongs to none."""
        generation = self.generations[-1]
        if generation.prefill is None:
            return generation
        how = generation.goes_on(heard, self.own_loop and generation.given is None)
        if how == "decoded" and generation.given is None and heard.tokens > 1:
            raise RuntimeError(
                f"{self.model_name} goes on with {heard.tokens} tokens at once, outside of generate, so it can't be "
                "known whether they are a prompt's or an answer's; give a prompt in one pass"
            )
        if how == "rerun" and generation.given is None and not self.own_loop and heard.tokens != generation.seen + 1:
            how = None  # a plain pass over a whole sequence stands for itself; one token more is a loop without a cache
        if how is None and generation.given is not None:
            raise RuntimeError(
                f"{self.model_name} made a pass of {heard.tokens} tokens that neither goes on with its answer nor "
                "begins one, so it can't be known what to edit in it; leave out what calls the model beside its own "
                "decoding (guidance, contrastive search, a processor of yours)"
            )
        if how is None:
            if heard.cache_length():
                raise RuntimeError(
                    f"{self.model_name} goes on with a KV cache whose prompt was not the last one heard under this "
                    "guard; run one prompt and its answer after the other"
                )
            self.generations[-1] = Generation()
            return self.generations[-1]
        self.prefilling = False
        generation.count(heard, how == "rerun")
        if how == "rerun":
            self.tokens = edited_tokens(generation.prefill, heard.tokens, self.edits.positions)
        else:
            self.tokens = EditedTokens() if self.edits.positions in DECODED else None
        return generation

    def end_pass(self, entered: bool) -> None:
        """RuntimeError where a pass has come to its end without all edited layers, or an edit is not finite.

        entered: it came to the decoder.
        """
        missed = sorted(set(self.edits.by_layer) - (self.reached if entered else set()))
        if missed:
            self.refuse(missed)
        finite, self.finite = self.finite, {}
        if finite and not bool(all_of(finite.values())):  # waits for the device, once
            wrong = [index for index, is_finite in finite.items() if not bool(is_finite)]
            raise RuntimeError(
                f"what is to be added to the hidden states of {self.model_name} after decoder layers {wrong} is not "
                "finite; load the model in bfloat16 or float32, or fit the guard again"
            )

    def end_generation(self) -> None:
        """The innermost generation has come to its end; that its prefill was heard, or one within it, is checked."""
        generation = self.generations.pop()
        if not generation.heard:
            self.refuse(sorted(self.edits.by_layer))
        self.generations[-1].heard = True

    def refuse(self, missed: list[int]) -> None:
        """RuntimeError that names edited layers which were not reached, and the likely reason."""
        raise RuntimeError(
            f"{self.model_name} ran without its decoder layers {missed} being reached, so they were not edited; one "
            "that was compiled, traced or exported before it is guarded runs past its layers: guard it first, or leave "
            "that out"
        )

    def after_layer(self, index: int, hidden: Tensor) -> Tensor:
        """A layer's hidden states [rows, tokens, d], noted where a later decision asks for them, and edited."""
        generation = self.generations[-1]
        edit = self.edits.by_layer.get(index)
        if edit is None and index not in self.edits.watched:
            return hidden
        if generation.prefill is None:
            raise RuntimeError(
                f"decoder layer {index} of {self.model_name} was called by itself, outside a pass through the "
                "decoder, so it can't be edited; call the model"
            )
        if self.prefilling:
            self.decide(index, edit, hidden, generation, generation.prefill)
        if edit is None:
            return hidden
        if index in self.reached and not torch.is_grad_enabled():  # gradient checkpoints run a layer twice
            raise RuntimeError(f"decoder layer {index} of {self.model_name} was called twice in one pass")
        self.reached.add(index)
        return self.edit(index, hidden)

    def decide(
        self, index: int, edit: LayerEdit | None, hidden: Tensor, generation: Generation, prefill: Prefill
    ) -> None:
        """Note a layer's last prompt tokens, and what its edit decides by them. hidden: [rows, tokens, d]."""
        device = hidden.device
        last = hidden[row_numbers(hidden), prefill.last.to(device)].float()
        generation.states[index] = last
        if edit is None:
            return
        states = {layer: state.to(device) for layer, state in generation.states.items()}
        images = None if prefill.has_image is None else prefill.has_image.to(device)
        expansion = generation.given.expansion if generation.given else 1
        generation.placed[index] = on_device(edit, device)
        prompts = Prompts(len(last), images, expansion, states)
        decision = generation.placed[index].decide(last, prompts)
        generation.decisions[index] = decision
        self.finite[index] = torch.isfinite(decision).all()
        if self.edits.heard is not None:
            self.edits.heard(decision)

    def edit(self, index: int, hidden: Tensor) -> Tensor:
        """A layer's hidden states [rows, tokens, d] with its edit in place. Never waits for the device."""
        generation = self.generations[-1]
        if self.tokens is None or index not in self.edits.by_layer:
            return hidden
        edit, decision = generation.placed[index], generation.decisions[index].unsqueeze(1)
        if self.tokens.columns is not None:
            where = row_numbers(hidden), self.tokens.columns.to(hidden.device)
            result = hidden.clone()
            result[where] = edit.apply(hidden[where].unsqueeze(1).float(), decision).squeeze(1).to(hidden.dtype)
            return result
        result = edit.apply(hidden.float(), decision).to(hidden.dtype)
        if self.tokens.mask is None:
            return result
        return torch.where(self.tokens.mask.to(hidden.device).unsqueeze(-1), result, hidden)


def all_of(outcomes: Iterable[Tensor]) -> Tensor:
    """Whether all of several bool [] hold: bool [], on the device of the last, where they lie on several."""
    several = list(outcomes)
    return torch.stack([outcome.to(several[-1].device) for outcome in several]).all()


def row_numbers(hidden: Tensor) -> Tensor:
    """The rows of hidden states [rows, ...], int64 [rows], on their device."""
    return torch.arange(hidden.shape[0], device=hidden.device)
