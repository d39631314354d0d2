"""A subject with guards on it: itself a subject, so that a guard that asks questions can be put on a guarded model."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Callable, Iterator, Sequence, cast

from vlmguard_plugin.guards.core.gates_heard import edits_heard, note_put
from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import Edits, SomeEdits, as_edits
from vlmguard_plugin.subjects.base import Contrast, Drawer, Drawn, Draws, Likelihood, Scorer, Subject

if TYPE_CHECKING:
    from torch import Tensor

    from vlmguard_plugin.guards.core.base import Guard
    from vlmguard_plugin.subjects.base import EditsForBatch


class GuardedSubject:
    """A subject with guards on it, the first acting first: what they rewrite and edit is done to whatever is asked.

    None of the guards may look at answers: such a one is put on a GuardedSubject. At most one contrasts logits, where
    the subject can. Edits that are asked for beside the guards' act after them. Weights, prompts and counts are the
    inner subject's.
    """

    def __init__(self, subject: Subject, guards: Sequence[Guard]) -> None:
        looking = [guard.name for guard in guards if guard.looks_at_answers]
        if looking:
            raise ValueError(
                f"{', '.join(looking)}: looks at answers, so it can't be put under another guard; put it on this "
                "subject with guard.respond"
            )
        for guard in guards:
            guard.check_reach(subject)
        self.subject, self.guards = subject, tuple(guards)
        contrasting = [guard.name for guard in self.contrasting]
        if len(contrasting) > 1:
            raise ValueError(f"{' and '.join(contrasting)} both contrast logits; put on one such guard")

    @property
    def num_layers(self) -> int:
        return self.subject.num_layers

    @property
    def hidden_size(self) -> int:
        return self.subject.hidden_size

    @property
    def fingerprint(self) -> str:
        return self.subject.fingerprint

    @property
    def is_edited(self) -> bool:
        return self.subject.is_edited

    @property
    def prompt_form(self) -> str:
        """The inner subject's, and the guards on it: what is recorded here is no state of the model alone."""
        return "\n".join([self.subject.prompt_form, *(guard.fingerprint for guard in self.guards)])

    @property
    def batch_size(self) -> int:
        return self.subject.batch_size

    @property
    def contrasts(self) -> bool:
        """Whether a guard put on this one may contrast logits: the inner subject does, and no guard here has it."""
        return bool(getattr(self.subject, "contrasts", False)) and not self.contrasting

    @property
    def draws(self) -> bool:
        """Whether answers can be drawn token by token here: where the inner subject's can."""
        return bool(getattr(self.subject, "draws", False))

    @property
    def device(self) -> Any:
        """Where the inner subject computes, if it draws."""
        return cast(Drawer, self.subject).device

    @property
    def contrasting(self) -> list[Guard]:
        """The guards here that contrast logits, one at most."""
        return [part for guard in self.guards for part in guard.parts if part.contrast is not None]

    @property
    def generated_tokens(self) -> int | None:
        return self.subject.generated_tokens

    def record(
        self,
        queries: Sequence[Query],
        edits: SomeEdits | EditsForBatch | None = None,
        *,
        progress: str | None = None,
    ) -> Tensor:
        """States of the guarded model: float32 [N, L, d] on the CPU, last prompt token, after each decoder layer."""
        return self.subject.record(self.rewritten(queries), self.edits_beside(edits), progress=progress)

    def normalised(self, states: Tensor) -> Tensor:
        return self.subject.normalised(states)

    def generate(
        self,
        queries: Sequence[Query],
        edits: SomeEdits | EditsForBatch | None = None,
        *,
        contrast: Contrast | None = None,
        progress: str | None = None,
        **generation: Any,
    ) -> list[str]:
        """One answer per query, in order, from the guarded model."""
        generation |= self.contrast_of(queries, contrast)
        put = self.rewritten(queries)
        note_put(queries, put)
        return self.subject.generate(put, self.edits_beside(edits), progress=progress, **generation)

    def draw(
        self,
        queries: Sequence[Query],
        draws: Draws,
        edits: SomeEdits | EditsForBatch | None = None,
        *,
        contrast: Contrast | None = None,
        **generation: Any,
    ) -> list[Drawn]:
        """What is drawn for each query, in order, from the guarded model."""
        generation |= self.contrast_of(queries, contrast)
        drawer = cast(Drawer, self.subject)
        return drawer.draw(self.rewritten(queries), draws, self.edits_beside(edits), **generation)

    @contextmanager
    def editing(self, edits: SomeEdits) -> Iterator[None]:
        """While open, the model's own `generate` runs guarded, and with `edits`; queries are not rewritten there.

        ValueError for a guard that has to know the query at hand.
        """
        with ExitStack() as stack:
            for guard in self.guards:
                stack.enter_context(self.subject.editing(guard.edits(self.subject, None)))
            stack.enter_context(self.subject.editing(edits))
            yield

    def rewritten(self, queries: Sequence[Query]) -> list[Query]:
        """The queries as the guards put them to the model."""
        for guard in self.guards:
            queries = [guard.rewrite(query) for query in queries]
        return list(queries)

    def contrast_of(self, queries: Sequence[Query], contrast: Contrast | None = None) -> dict[str, Any]:
        """The argument `contrast` for these queries: what is asked for, or that of a guard here; empty for neither."""
        if contrast is not None:
            return {"contrast": contrast._replace(queries=self.rewritten(contrast.queries))}
        alpha = next((guard.contrast for guard in self.contrasting), None)
        if alpha is None:
            return {}
        plain = list(queries)
        for part in (part for guard in self.guards for part in guard.parts if part.contrast is None):
            plain = [part.rewrite(query) for query in plain]
        return {"contrast": Contrast(plain, alpha)}

    def edits_beside(self, edits: SomeEdits | EditsForBatch | None) -> Callable[[Sequence[Query]], tuple[Edits, ...]]:
        """From a batch's (rewritten) queries to the guards' edits and those beside them."""

        def of_batch(batch: Sequence[Query]) -> tuple[Edits, ...]:
            guards_own = [edits_heard(guard, self.subject, batch) for guard in self.guards]
            beside = as_edits(edits(batch) if callable(edits) else edits)
            return (*(layer_edits for own in guards_own for layer_edits in own), *beside)

        return of_batch


class GuardedScorer(GuardedSubject):
    """The same for a subject that also tells how likely an answer is."""

    subject: Scorer

    def __init__(self, subject: Scorer, guards: Sequence[Guard]) -> None:
        super().__init__(subject, guards)

    def log_likelihoods(
        self,
        queries: Sequence[Query],
        answers: Sequence[str],
        edits: SomeEdits | EditsForBatch | None = None,
        *,
        contrast: Contrast | None = None,
    ) -> list[Likelihood]:
        """How likely the guarded model is to give each answer."""
        beside = self.contrast_of(queries, contrast)
        return self.subject.log_likelihoods(self.rewritten(queries), answers, self.edits_beside(edits), **beside)

    def token_log_likelihoods(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        edits: SomeEdits | EditsForBatch | None = None,
    ) -> list[Likelihood]:
        """The same for tokens, which no guard rewrites."""
        return self.subject.token_log_likelihoods(prompts, answers, self.edits_beside(edits))


def own_prompt_form(subject: Subject) -> str:
    """How prompts are built by a subject, whatever guards are on it."""
    while isinstance(subject, GuardedSubject):
        subject = subject.subject
    return subject.prompt_form
