"""Several requests to a host's object in one batch of its transformers model, answered as they are one by one.

The object is asked each request twice. The first time its model's `generate` notes what it is given and goes no
further; what all were given then goes through the model in one batch; the second time `generate` gives each request its
own tokens, of which the object makes the answer. No class is known by name: what can't be followed is asked one by one,
and each kind of batch is tried on the model, against its requests by themselves, before it is relied on.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, ContextManager, Hashable, Iterator, Sequence

import torch
from torch import Tensor, nn
from transformers import GenerationMixin

from vlmguard_plugin.reading import in_line
from vlmguard_plugin.steering.decoder import Decoder, OnePassHeard
from vlmguard_plugin.steering.editing import replaced_generate
from vlmguard_plugin.steering.passes import Pass, hearing_passes
from vlmguard_plugin.subjects.generate_calls import Call, NotTogether, call_of, structure_of, together
from vlmguard_plugin.subjects.host_parts import torch_models

CLOSE = 1e-3
CLOSE_IN_HALVES = 0.05
"""How far the logits of a token may lie apart, as a share of the largest: in float32, and in types of 16 bits."""
Ask = Callable[[], str]
"""Puts one request to the object."""


class GenerateReached(OnePassHeard):
    """Cuts a host's call short where its model's `generate` is called, with what it is given."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call


class BatchesTried:
    """What is known of batches of an object. name: of its class.

    alone: why it is always asked one by one; None where it need not be. That a batch works, and why one does not, is
    said on stderr, each in one line.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.alone: str | None = None
        self._said: set[str] = set()

    def look(self, first: Callable[[], Any]) -> None:
        """Find out by a first request whether there are batches at all. first: puts it."""
        try:
            first()
        except NotTogether as error:
            self.give_up(error)
        except Exception as error:  # noqa: BLE001 - a host's class, which may raise anything
            self.give_up(NotTogether(f"it fails on a first request ({in_line(error)})"))

    def give_up(self, error: NotTogether) -> None:
        """From now on one by one, or these requests alone."""
        if error.for_good:
            self.alone = error.reason
            self.say(f"is asked one request at a time: {error.reason}")
        else:
            self.say(f"is asked some requests one at a time: {error.reason}")

    def say(self, what: str) -> None:
        """Once."""
        if what not in self._said:
            self._said.add(what)
            print(f"vlmguard: {self.name} {what}", file=sys.stderr)


class HostBatches(BatchesTried):
    """Batches of a host's object around a model in transformers. vlm: that object."""

    def __init__(self, vlm: Any) -> None:
        super().__init__(type(vlm).__name__)
        self.vlm = vlm
        self._tried: dict[Hashable, bool] = {}

    def look_at(self, ask: Ask, decoder: Decoder | None) -> None:
        """Find out by one request, without a pass of the model, whether there are batches at all."""
        self.look(lambda: self._call_of(ask, decoder))

    def answers(
        self, asks: Sequence[Ask], decoder: Decoder | None, guarded: Callable[[], ContextManager[Any]]
    ) -> list[str] | None:
        """One answer per request, in order; None where they have to be asked one by one. Raises what a request raises.

        decoder: which only `generate` may run, where its states are edited. guarded: opened around the one pass.
        """
        if self.alone is not None:
            return None
        try:
            calls = [self._call_of(ask, decoder) for ask in asks]
            batch = together(calls)
            self._try(calls, batch)
            with guarded():
                tokens = self._tokens(batch)
            return [self._answer(ask, call, own, decoder) for ask, call, own in zip(asks, calls, tokens)]
        except NotTogether as error:
            self.give_up(error)
            return None

    def _call_of(self, ask: Ask, decoder: Decoder | None) -> Call:
        """What the object gives its model for one request."""

        def cut_short(call: Call) -> Tensor:
            raise GenerateReached(call)

        try:
            with self._generating(cut_short, decoder):
                ask()
        except GenerateReached as cut:
            return cut.call
        raise NotTogether("it answers without its model's generate, or keeps its errors to itself")

    def _answer(self, ask: Ask, call: Call, own: Tensor, decoder: Decoder | None) -> str:
        """What the object makes of its own tokens, int64 [tokens]."""
        asked: list[Call] = []

        def given(again: Call) -> Tensor:
            asked.append(again)
            if len(asked) > 1:
                raise NotTogether("it asks its model more than once a request")
            if not again.is_like(call):
                raise NotTogether("it asks otherwise each time")
            return own[None].clone() if call.ids is None else torch.cat([call.ids, own[None]], dim=1)

        with self._generating(given, decoder):
            answer = ask()
        if not asked:
            raise NotTogether("it asks otherwise each time")
        return answer

    @contextmanager
    def _generating(self, instead: Callable[[Call], Tensor], decoder: Decoder | None) -> Iterator[None]:
        """While open, `generate` of the object's transformers models is `instead`; nothing else may run the decoder."""
        models = [
            module
            for root in torch_models(self.vlm)
            for module in root.modules()
            if getattr(type(module), "generate", None) is GenerationMixin.generate
        ]
        if not models:
            raise NotTogether("it holds no transformers model that decodes by transformers' own generate")

        def wrap(module: nn.Module, generate: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args, **kwargs: instead(call_of(module, args, kwargs))

        def refuse(heard: Pass) -> None:
            raise NotTogether("it runs its decoder beside generate")

        with ExitStack() as stack:
            stack.enter_context(replaced_generate(models, wrap))
            if decoder is not None:
                stack.enter_context(hearing_passes(decoder, refuse))
            yield

    def _try(self, calls: Sequence[Call], batch: Call) -> None:
        """NotTogether where a batch of this kind does not give what its requests give by themselves."""
        kind = structure_of(calls)
        if kind not in self._tried:
            self._tried[kind] = gives_the_same(calls, batch)
        if not self._tried[kind]:
            raise NotTogether("their logits are others in a batch", for_good=False)
        self.say("is asked the rows to come in one batch, whose logits are those of its requests one by one")

    def _tokens(self, batch: Call) -> list[Tensor]:
        try:
            return batch.answers()
        except Exception as error:  # too large a batch, say; what is wrong with a request is raised when it is alone
            raise NotTogether(f"a batch fails ({in_line(error)})", for_good=False) from error


def gives_the_same(calls: Sequence[Call], batch: Call) -> bool:
    """Whether the logits of the first tokens are those of the calls one by one, but for rounding."""
    try:
        rows_of_steps = batch.few_logits()
    except Exception:  # noqa: BLE001 - a model that takes no batch may raise anything
        return False
    close = CLOSE if next(batch.module.parameters()).dtype.itemsize >= 4 else CLOSE_IN_HALVES
    for number, call in enumerate(calls):
        for own, rows in zip(call.few_logits(), rows_of_steps):
            alone, beside = own[0].float(), rows[number].float()
            if not float((alone - beside).abs().max()) <= close * float(alone.abs().max()):
                return False
            if int(alone.argmax()) != int(beside.argmax()):
                break  # a near-tie, from which on they say different things
    return True
