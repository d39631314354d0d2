"""VLMEvalKit models: a checkpoint, unguarded or guarded, through one and the same code."""

from __future__ import annotations

import sys
from typing import Any, Sequence

from vlmeval.vlm.base import BaseModel

from vlmguard_plugin.benchmarks.condition import early_layer
from vlmguard_plugin.hosts.guard_spec import GuardSpec
from vlmguard_plugin.hosts.guarded import Answered, GuardedModel, Meter, NoAnswer, no_video
from vlmguard_plugin.hosts.vlmeval.host_facts import HOST, host_version
from vlmguard_plugin.hosts.vlmeval.messages import as_conversation, as_query, has_video
from vlmguard_plugin.hosts.vlmeval.rows_ahead import RowsAhead
from vlmguard_plugin.query import Query
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
        self._ahead = RowsAhead()

    def set_dump_image(self, dump_image_func: Any) -> None:
        """Called by the host once a dataset, with the dataset's bound method: the rows to come are known from it."""
        super().set_dump_image(dump_image_func)
        self._ahead = RowsAhead(dump_image_func)

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
        known = self._ahead.answers_to(dataset)
        rows = self._ahead.rows_from(query, self.guarded.subject.batch_size)
        if query not in known:
            batch = [each for each in dict.fromkeys(row.query for row in rows) if each not in known]
            known.update(zip(batch, self.answers(batch, dataset)))
        return self.handed_over(query, known[query], dataset, rows[0].row)

    def chat_inner(self, message: list[dict[str, Any]], dataset: str | None = None) -> str:
        """The answer to a conversation's last turn. One that fails is marked, so that the host leaves out no turn."""
        if any(has_video(turn["content"]) for turn in message):
            return f"{FAILED} {no_video(self.guarded.checkpoint, dataset)}"
        query = as_conversation(message)
        (answered,) = self.answers([query], dataset)
        return self.handed_over(query, answered, dataset, None)

    def answers(self, queries: Sequence[Query], dataset: str | None) -> list[Answered]:
        """The answers to queries of a data set, in the condition that its name says."""
        return self.guarded.respond_each(queries, dataset or "", early_layer(dataset or ""))

    def handed_over(self, query: Query, answered: Answered, dataset: str | None, row: Any) -> str:
        """What the host gets for a request of this row, which is counted now and not when it was answered ahead."""
        self.meter.count_gate(dataset or "", answered.fired, row)
        return failed(query, answered.text) if isinstance(answered.text, NoAnswer) else answered.text


def failed(query: Query, answer: NoAnswer) -> str:
    """What the host keeps in an answer's place, after one line on stderr."""
    print(f"vlmguard: no answer to {query.text[:60]!r}: {answer.reason}", file=sys.stderr)
    return f"{FAILED} {answer.reason}"
