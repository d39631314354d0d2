"""Answers that the host keeps (`--reuse`) must be those of the same guard: else a run goes on under another's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vlmguard_plugin.guards.core.registry import load_guard
from vlmguard_plugin.hosts.guard_spec import GuardSpec
from vlmguard_plugin.hosts.vlmeval.models import guarded_vlm
from vlmguard_plugin.reading import parsed_json, read_json
from vlmguard_plugin.runs.facts import read_facts
from vlmguard_plugin.runs.readers.vlmevalkit import RUN_FOLDER


def loaded_identity(model: Any, name: str) -> dict[str, Any]:
    """What a run of a model of ours is, by the facts that are written down of it; nothing of a stock model."""
    return model.run_facts(name).identity if hasattr(type(model), "run_facts") else {}


def identity_before_loading(builder: Any) -> dict[str, Any]:
    """The same as far as it is known of a checkpoint that is not loaded: where all answers are kept, it never is.

    builder: the host's entry for the model.
    """
    if getattr(builder, "func", None) is not guarded_vlm:
        return {}
    spec = GuardSpec.of(**{name: value for name, value in builder.keywords.items() if name != "use_vllm"})
    if spec.guard is None:
        return {}
    if spec.guard_dir is None:
        given = spec.unfitted_guard()
        return {"guard": given.name, "settings": given.unfitted_settings()}
    saved = load_guard(spec.guard_dir)
    guard = saved.with_settings(**dict(spec.settings)) if spec.settings else saved
    return {"guard": guard.name, "settings": guard.saved_settings(), "guard_fingerprint": guard.fingerprint}


def facts_of_kept(facts: Path, dataset: str) -> Path:
    """Where the facts of kept answers stand: beside them, or in the run folder that the host has taken them from.

    Some versions make a folder (T...) for each run, and copy what is answered so far into it, but nothing of ours
    unless all is answered; their status.json says from where.
    """
    if facts.is_file() or not RUN_FOLDER.fullmatch(facts.parent.name):
        return facts
    try:
        source = read_json(facts.with_name("status.json"))["datasets"][dataset]["source_run"]
        return facts.parent.parent / source / facts.name
    except (OSError, ValueError, KeyError, TypeError):
        return facts


def check_kept_answers(facts: Path, name: str, dataset: str, now: dict[str, Any]) -> None:
    """ValueError where the kept answers were given under another guard, setting or model than there is now.

    facts: the file that says under which; answers without one, or whose file is damaged, are the user's to mind.
    """
    try:
        runs = read_facts(facts)
    except ValueError:
        return
    before = runs[-1].identity if runs else {}
    there = parsed_json(json.dumps(now))
    changed = [fact for fact in there if before.get(fact) and differs(before[fact], there[fact])]
    if changed:
        was = ", ".join(f"{fact} {in_short(before[fact])} (now {in_short(there[fact])})" for fact in changed)
        raise ValueError(
            f"{facts.parent} holds answers of {name} to {dataset} with another {was}; leave --reuse out, or choose "
            "another --work-dir"
        )


def differs(before: Any, now: Any) -> bool:
    """Whether two facts differ; a setting that is None now is one that the fit fills in."""
    if isinstance(before, dict) and isinstance(now, dict):
        return set(before) != set(now) or any(differs(before[name], now[name]) for name in now)
    return now is not None and before != now


def in_short(value: Any) -> str:
    """A fact in at most 80 characters."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:79] + "…"
