"""Requests of many clients, answered together by one thread: a model can be guarded from one thread at a time."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future

from vlmguard_plugin.hosts.guarded import Answered
from vlmguard_plugin.serving.by_request import ByRequest
from vlmguard_plugin.serving.chat import Asked


class Answering:
    """Takes requests from any thread and answers those that wait together, as far as they are alike.

    models: by the guard that requests ask for. most: queries that are answered at once, at least 1.
    """

    def __init__(self, models: ByRequest, most: int) -> None:
        self.models, self.most = models, most
        self._waiting: deque[tuple[Asked, Future[Answered]]] = deque()
        self._there = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True, name="vlmguard-answers")
        self._thread.start()

    def answer(self, asked: Asked) -> Future[Answered]:
        """The answer to come."""
        future: Future[Answered] = Future()
        with self._there:
            self._waiting.append((asked, future))
            self._there.notify()
        return future

    def next_batch(self) -> list[tuple[Asked, Future[Answered]]]:
        """The request that has waited longest, and others like it; waits for one."""
        with self._there:
            while not self._waiting:
                self._there.wait()
            first = self._waiting[0][0]
            most = 1 if first.alone else self.most
            batch = [entry for entry in self._waiting if entry[0].alike == first.alike][:most]
            for entry in batch:
                self._waiting.remove(entry)
            return batch

    def _run(self) -> None:
        while True:
            batch = [entry for entry in self.next_batch() if entry[1].set_running_or_notify_cancel()]
            if not batch:
                continue
            try:
                first = batch[0][0]
                model = self.models.under(first.guard)
                answers = model.respond_each([asked.query for asked, _ in batch], **first.generation)
            except BaseException as error:  # noqa: BLE001 - whoever waits is told, and the thread goes on
                for _, future in batch:
                    future.set_exception(error)
                continue
            for (_, future), answered in zip(batch, answers, strict=True):
                future.set_result(answered)
