"""VLMEvalKit models: a checkpoint, unguarded or guarded, through one and the same code."""

from __future__ import annotations

import os
import sys
from itertools import islice
from typing import Any, Iterator

from vlmeval.smp import get_rank_and_world_size
from vlmeval.vlm.base import BaseModel

from vlmguard_plugin.guards.registry import build_guard
from vlmguard_plugin.hosts.models import MODELS, Model, fitted_guard, merged
from vlmguard_plugin.subjects.base import Query
from vlmguard_plugin.subjects.huggingface import AnswersCutShort
from vlmguard_plugin.subjects.loading import load_subject

FAILED = "Failed to obtain answer via API."  # the host's own mark: such rows are asked again on the next run


class GuardedVLM(BaseModel):
    """A model of MODELS or any local checkpoint, with or without a guard.

    model: name in MODELS, a save_pretrained folder or a hub name. guard: registered guard name, None for none.
    guard_dir: a fitted guard's folder ($VLMGUARD_GUARD_DIR); else the guard is fitted at first use and cached.
    anchors: csv of anchors to fit on ($VLMGUARD_ANCHORS); else the package's own.
    max_new_tokens: length of an answer ($VLMGUARD_MAX_NEW_TOKENS). settings: the guard's settings.

    The host asks for one answer at a time. Knowing the dataset, the model answers the next rows in the same
    batch and hands them out when their very message is asked for ($VLMGUARD_BATCH_SIZE rows).
    """

    INTERLEAVE = True

    def __init__(
        self,
        model: str,
        guard: str | None = None,
        guard_dir: str | None = None,
        anchors: str | None = None,
        max_new_tokens: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        known = MODELS.get(model, Model(model))
        tokens = max_new_tokens or os.environ.get("VLMGUARD_MAX_NEW_TOKENS") or known.max_new_tokens
        self.generation = {"max_new_tokens": int(tokens)}
        if guard:
            build_guard(guard, **merged(known.guard_settings(guard), settings))  # a wrong setting, before the model is loaded
        self.subject = load_subject(known.folder_or_name())
        self.guard = fitted_guard(known, guard, self.subject, guard_dir, anchors, settings) if guard else None
        self._ahead: Iterator[Query] = iter(())
        self._answers: dict[Query, str] = {}

    def set_dump_image(self, dump_image_func) -> None:
        """Called by the host once a dataset, with the dataset's bound method: the rows to come are known from it."""
        super().set_dump_image(dump_image_func)
        dataset = getattr(dump_image_func, "__self__", None)
        self._ahead = iter(()) if dataset is None else upcoming(dataset)
        self._answers = {}

    def generate_inner(self, message: list[dict], dataset: str | None = None) -> str:
        query = as_query(message)
        if query not in self._answers:
            self._answer(self._batch_from(query))
        return self._answers[query]

    def _answer(self, batch: list[Query]) -> None:
        """Answer a batch; where it fails, each query by itself, so that a bad one costs its own answer alone."""
        try:
            self._answers.update(zip(batch, self._respond(batch)))
        except (AnswersCutShort, ValueError, OSError) as error:  # the latter where a guard reads the query's images itself
            if len(batch) == 1:
                self._answers[batch[0]] = self._failed(batch[0], error)
            else:
                for query in batch:
                    self._answer([query])

    def _respond(self, queries: list[Query]) -> list[str]:
        if self.guard is None:
            return self.subject.generate(queries, **self.generation)
        return self.guard.respond(self.subject, queries, **self.generation)

    def _batch_from(self, query: Query) -> list[Query]:
        """This query and those that follow it in the dataset, up to a batch; the query alone where it isn't there."""
        if any(ahead == query for ahead in self._ahead):
            return [query, *islice(self._ahead, self.subject.batch_size - 1)]
        return [query]

    @staticmethod
    def _failed(query: Query, error: Exception) -> str:
        reason = " ".join(str(error.__cause__ or error).split())
        print(f"vlmguard: no answer to {query.text[:60]!r}: {reason}", file=sys.stderr)
        return f"{FAILED} {reason}"


def as_query(message: list[dict]) -> Query:
    """The host's message as a query: its texts and images in order."""
    return Query.from_parts([(part["type"], part["value"]) for part in message])


def upcoming(dataset) -> Iterator[Query]:
    """This rank's rows of a host dataset as queries, in the host's order, built one by one.

    Ends at a row whose prompt can't be built: the host meets it, and reports it, when it gets there.
    """
    rank, world_size = get_rank_and_world_size()
    for row in range(rank, len(dataset.data), world_size):
        try:
            message = dataset.build_prompt(dataset.data.iloc[row])
        except (OSError, ValueError, KeyError, TypeError, AssertionError):
            return
        yield as_query(message)
