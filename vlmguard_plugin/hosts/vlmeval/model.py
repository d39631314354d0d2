"""VLMEvalKit models: a checkpoint, unguarded or guarded, through one and the same code."""

from __future__ import annotations

import sys
from itertools import islice
from typing import Any, Iterator

from vlmeval.smp import get_rank_and_world_size
from vlmeval.vlm.base import BaseModel

from vlmguard_plugin.hosts.guard_spec import GuardSpec
from vlmguard_plugin.hosts.guarded import GuardedModel, Meter, NoAnswer, no_video
from vlmguard_plugin.hosts.vlmeval.host_facts import HOST, host_version
from vlmguard_plugin.query import Query, Turn
from vlmguard_plugin.runs.facts import RunFacts

FAILED = "Failed to obtain answer via API."  # the host's own mark: such rows are asked again on the next run


class GuardedVLM(BaseModel):
    """A model of MODELS or any local checkpoint, with or without a guard.

    model, guard and all other arguments: those of GuardSpec, and the guard's settings.

    The host asks for one answer at a time. Knowing the dataset, the model answers the next rows in the same
    batch and hands them out when their very message is asked for ($VLMGUARD_BATCH_SIZE rows).
    """

    INTERLEAVE = True

    def __init__(self, model: str, guard: str | None = None, **arguments: Any) -> None:
        super().__init__()
        self.guarded = GuardedModel(GuardSpec.of(model, guard, **arguments))
        self._ahead: Iterator[Query] = iter(())
        self._answers: dict[Query, str | NoAnswer] = {}

    def set_dump_image(self, dump_image_func: Any) -> None:
        """Called by the host once a dataset, with the dataset's bound method: the rows to come are known from it."""
        super().set_dump_image(dump_image_func)
        dataset = getattr(dump_image_func, "__self__", None)
        self._ahead = iter(()) if dataset is None else upcoming(dataset)
        self._answers = {}

    @property
    def meter(self) -> Meter:
        """What was spent on answers."""
        return self.guarded.meter

    def run_facts(self, name: str) -> RunFacts:
        """What the leaderboard is told of a run. name: of this model on the host."""
        return self.guarded.facts(HOST, host_version(), name)

    def generate_inner(self, message: list[dict[str, Any]], dataset: str | None = None) -> str:
        if has_video(message):
            raise ValueError(no_video(self.guarded.checkpoint, dataset))
        query = as_query(message)
        if query not in self._answers:
            batch = self._batch_from(query)
            self._answers.update(zip(batch, self.guarded.respond_each(batch, dataset or "")))
        answer = self._answers[query]
        return failed(query, answer) if isinstance(answer, NoAnswer) else answer

    def chat_inner(self, message: list[dict[str, Any]], dataset: str | None = None) -> str:
        """The answer to a conversation's last turn. One that fails is marked, so that the host leaves out no turn."""
        if any(has_video(turn["content"]) for turn in message):
            return f"{FAILED} {no_video(self.guarded.checkpoint, dataset)}"
        query = as_conversation(message)
        (answer,) = self.guarded.respond_each([query], dataset or "")
        return failed(query, answer) if isinstance(answer, NoAnswer) else answer

    def _batch_from(self, query: Query) -> list[Query]:
        """This query and those that follow it in the dataset, up to a batch; the query alone where it isn't there."""
        if any(ahead == query for ahead in self._ahead):
            return [query, *islice(self._ahead, self.guarded.subject.batch_size - 1)]
        return [query]


def failed(query: Query, answer: NoAnswer) -> str:
    """What the host keeps in an answer's place, after one line on stderr."""
    print(f"vlmguard: no answer to {query.text[:60]!r}: {answer.reason}", file=sys.stderr)
    return f"{FAILED} {answer.reason}"


def as_query(message: list[dict[str, Any]]) -> Query:
    """The host's message as a query: its texts and images in order."""
    return Query.from_parts(parts_of(message))


def as_conversation(messages: list[dict[str, Any]]) -> Query:
    """The host's turns as a query: the last one's content, and those before it as its history."""
    return Query.from_parts(
        parts_of(messages[-1]["content"]), [Turn(turn["role"], parts_of(turn["content"])) for turn in messages[:-1]]
    )


def parts_of(message: list[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
    """The parts of the host's message."""
    return tuple((part["type"], part["value"]) for part in message)


def has_video(message: list[dict[str, Any]]) -> bool:
    """Whether the host's message shows a video."""
    return any(part["type"] == "video" for part in message)


def upcoming(dataset: Any) -> Iterator[Query]:
    """This rank's rows of a host dataset as queries, in the host's order, built one by one.

    Ends at a row whose prompt can't be built: the host meets it, and reports it, when it gets there.
    """
    rank, world_size = get_rank_and_world_size()
    for row in range(rank, len(dataset.data), world_size):
        try:
            query = as_query(dataset.build_prompt(dataset.data.iloc[row]))
        except (OSError, ValueError, KeyError, TypeError, AssertionError):
            return
        yield query
