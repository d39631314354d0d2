"""What lmms-eval's response cache and its results file are told beyond what they ask for, for our models only."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
from dataclasses import replace
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Sequence

from lmms_eval.caching.response_cache import ResponseCache
from lmms_eval.loggers.evaluation_tracker import EvaluationTracker
from PIL import Image

from vlmguard_plugin import __version__
from vlmguard_plugin.environment import TRANSFORMERS
from vlmguard_plugin.hosts.guarded import GuardedModel, NoAnswer
from vlmguard_plugin.query import BlankImage, ImageLike, Query, read_image

if TYPE_CHECKING:
    from lmms_eval.api.instance import Instance

    from vlmguard_plugin.hosts.lmms_eval.model import Asked, GuardedLMM

MERGED = ".merged"  # the host's mark on a run whose answers have been put into the cache's main file


def put_on(ours: type[GuardedLMM]) -> None:
    """Let the response cache keep the answers of our models as they come, and the results file say what they were."""
    execute, save = ResponseCache.execute, EvaluationTracker.save_results_aggregated

    @wraps(execute)
    def execute_for_all(cache: ResponseCache, lm: Any, reqtype: str, requests: Sequence[Instance]) -> list:
        if isinstance(lm, ours) and reqtype == "generate_until":
            return execute_in_batches(execute, cache, lm, requests)
        return execute(cache, lm, reqtype, requests)

    @wraps(save)
    def save_with_facts(tracker: EvaluationTracker, results: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        add_facts(results, ours.finished)
        save(tracker, results, *args, **kwargs)

    ResponseCache.execute = execute_for_all
    EvaluationTracker.save_results_aggregated = save_with_facts


def execute_in_batches(execute: Any, cache: ResponseCache, lm: GuardedLMM, requests: Sequence[Instance]) -> list[str]:
    """The host's `execute`, batch by batch: it keeps answers when all are there, so a run that stops would lose them.

    The host's key holds the model's name and `--model_args` and the request's text; here also what the answer depends
    on beside them: weights, guard, prompt template, pictures.
    """
    take_over_stopped_runs(cache)
    identity = identity_of(lm.guarded)

    def answer(batch: list[Asked]) -> list[str | NoAnswer]:
        failed: dict[int, NoAnswer] = {}
        marked: list[Instance] = []
        asked_by: dict[int, Asked] = {}
        for asked in batch:
            try:
                marked.append(marked_request(asked, identity))
                asked_by[id(marked[-1])] = asked
            except OSError as error:  # a picture that can't be read
                failed[asked.position] = NoAnswer(str(error))

        def generate_until(missing: Sequence[Instance]) -> list[str | None]:
            asked = [asked_by[id(request)] for request in missing]
            answers = lm.answer(asked)
            failed.update(
                {request.position: text for request, text in zip(asked, answers) if isinstance(text, NoAnswer)}
            )
            return [None if isinstance(text, NoAnswer) else text for text in answers]  # the host keeps no None

        texts = execute(cache, SimpleNamespace(generate_until=generate_until), "generate_until", marked)
        answered = {asked_by[id(request)].position: text for request, text in zip(marked, texts)}
        return [{**answered, **failed}[asked.position] for asked in batch]

    return lm.in_batches(requests, answer)


def identity_of(guarded: GuardedModel) -> str:
    """What answers depend on beside the request and its generation arguments."""
    subject, guard = guarded.subject, guarded.guard
    parts = [subject.fingerprint, str(subject.dtype), subject.prompt_form, guard.fingerprint if guard else None]
    engine = [] if subject.engine == TRANSFORMERS else [subject.engine]  # as in caches of earlier versions
    return json.dumps([__version__, *parts, *engine])


def marked_request(asked: Asked, identity: str) -> Instance:
    """The request as the cache is shown it: the host's key takes in all leading strings of its arguments."""
    text, *rest = asked.request.args
    length = asked.generation["max_new_tokens"]  # the model's own where the task names none
    return replace(asked.request, arguments=(text, f"{identity} {length} {digest(asked.query)}", *rest))


def digest(query: Query) -> str:
    """sha256 of a query's words and pictures."""
    sha256 = hashlib.sha256()
    for turn in query.turns():
        for kind, value in turn.parts:
            content = value.encode() if kind == "text" and isinstance(value, str) else content_of(value)
            sha256.update(f"{turn.role} {kind} {len(content)} ".encode() + content)
    return sha256.hexdigest()


def content_of(image: ImageLike) -> bytes:
    """A picture's RGB pixels with their size; of a file, its bytes; of a meaningless image, what it is."""
    if isinstance(image, Image.Image):
        return f"{image.size} ".encode() + read_image(image).tobytes()
    if isinstance(image, BlankImage):
        return repr(image).encode()
    return Path(image).read_bytes()


def take_over_stopped_runs(cache: ResponseCache) -> None:
    """Put the answers of runs that were stopped into this run's own file; the host merges completed runs alone."""
    own = Path(cache.db_path)
    runs = own.parents[1]  # on this machine's own disk where the cache's folder is a remote one
    main = getattr(cache, "_cache_root", None)
    roots = {runs, Path(main) / "runs"} if main else {runs}
    for file in sorted(file for root in roots for file in root.glob("*/rank_*.db")):
        done = file.parent / MERGED
        if file == own or (done.exists() and done.stat().st_mtime >= file.stat().st_mtime):
            continue
        try:
            ResponseCache.merge_shards([str(file)], str(own))
        except (sqlite3.Error, OSError) as error:
            print(f"vlmguard: answers in {file} can't be taken over ({error})", file=sys.stderr)


def add_facts(results: dict[str, Any], lm: GuardedLMM | None) -> None:
    """Put the run's facts under "config" / "vlmguard". Never costs the host its results, whatever goes wrong here."""
    try:
        if (
            lm
            and lm.facts
            and results["config"]["model_backend"].startswith(f"{type(lm).__module__}.{type(lm).__name__} ")
        ):
            sampled = any(task["generation"]["do_sample"] for task in lm.facts["tasks"].values())
            results["config"]["vlmguard"] = {
                **lm.facts,
                "seed": results["config"].get("torch_seed") if sampled else None,
            }
    except Exception as error:  # noqa: BLE001 - the host's results matter more than ours, whatever this is
        print(f"vlmguard: the results file lacks the run's facts ({type(error).__name__}: {error})", file=sys.stderr)
