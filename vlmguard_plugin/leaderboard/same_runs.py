"""Which predictions under one model's name are of the same run: what is not known to be is never averaged.

A run is told by what its facts say of it. The same model, guard and settings asked again is a repetition; others under
the same name are models of their own, with labels that tell them apart.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Mapping, Sequence

from vlmguard_plugin.naming import flat
from vlmguard_plugin.runs.answers import Predictions
from vlmguard_plugin.runs.facts import RunFacts, digest_of

MOST_NAMED = 4
"""Settings in a label; of more a digest stands there."""
Runs = list[Predictions]


def groups_of_runs(predictions: Sequence[Predictions]) -> list[Runs]:
    """Predictions of one model's name, grouped by run, repetitions together.

    Runs are told apart by model, guard and settings, and by how they were asked and decoded where they meet on a data
    set. Predictions whose run nobody wrote down are put beside others where they have no item in common with them (a
    part, or another data set) or say the same word for word, and else stand by folder.
    """
    known: dict[str, Runs] = {}
    unknown: dict[Any, Runs] = {}
    for each in predictions:
        model = model_of(each)
        known.setdefault(model, []).append(each) if model else unknown.setdefault(each.folder, []).append(each)
    groups = [group for of_model in known.values() for group in by_manner(of_model)]
    for folder, of_folder in unknown.items():
        homes = [group for group in groups if any(each.folder == folder for each in group)] or groups
        home = homes[0] if len(homes) == 1 and not meet(homes[0], of_folder) else None
        home = home or next((group for group in groups if are_copies(of_folder, group)), None)
        if home is None:
            groups.append(of_folder)
        else:
            home += of_folder
    return groups


def model_of(predictions: Predictions) -> str:
    """What tells the model, guard and settings of a run from others; "" where nobody wrote it down."""
    if not predictions.runs:
        return ""
    facts = predictions.runs[-1]
    if not (facts.checkpoint or facts.fingerprint or facts.arguments):
        return ""
    told = ("checkpoint", "fingerprint", "arguments", "guard", "settings", "guard_fingerprint")
    return digest_of([facts.identity[name] for name in told])


def by_manner(runs: Runs) -> list[Runs]:
    """Runs of one model, taken apart by how they were asked and decoded, if some of a data set differ in it."""
    manners: dict[str, Runs] = {}
    for each in runs:
        manners.setdefault(digest_of(each.runs[-1].generation), []).append(each)
    pairs = Counter(each.dataset for of_manner in manners.values() for each in first_of_datasets(of_manner))
    return list(manners.values()) if max(pairs.values()) > 1 else [runs]


def first_of_datasets(runs: Runs) -> Runs:
    """One of the predictions of each data set."""
    return list({each.dataset: each for each in runs}.values())


def meet(runs: Runs, others: Runs) -> bool:
    """Whether two groups have an item of a data set in common."""
    items = {(each.dataset, item.key) for each in runs for item in each.items}
    return any((each.dataset, item.key) in items for each in others for item in each.items)


def without_copies(runs: Runs) -> Runs:
    """Predictions of one run, without those that are another's under the same seed, answer for answer."""
    if len(first_of_datasets(runs)) == len(runs):
        return runs
    kept: dict[tuple[str, int | None], Predictions] = {}
    for each in runs:
        kept.setdefault((answers_in(each), each.runs[-1].seed if each.runs else None), each)
    return list(kept.values())


def are_copies(runs: Runs, others: Runs) -> bool:
    """Whether all answers of some predictions stand in others just so."""
    return {answers_in(each) for each in runs} <= {answers_in(each) for each in others}


def answers_in(predictions: Predictions) -> str:
    """What tells predictions with these answers to these items, got in this manner, from all others."""
    answers = sorted(str((item.key, item.case.answer, item.label)) for item in predictions.items)
    manner = [predictions.runs[-1].settings, predictions.runs[-1].generation] if predictions.runs else [{}, {}]
    return digest_of([predictions.dataset, predictions.kind, answers, manner])


def labels_of(name: str, groups: Sequence[Runs]) -> list[str]:
    """A label for each group of runs of one name: the name, and what tells the run from the others."""
    if len(groups) == 1:
        return [name]
    told = [described(group) for group in groups]
    labels = [name] * len(groups)
    for tiers in (("said",), ("said", "digests")):
        labels = [with_differences(name, facts, told, tiers) for facts in told]
        if len(set(labels)) == len(labels) and all(told):
            return labels
    clear = [label if told[place] and labels.count(label) == 1 else "" for place, label in enumerate(labels)]
    folders = [", ".join(dict.fromkeys(str(each.folder) for each in group)) for group in groups]
    labels = [label or f"{name} ({folder})" for label, folder in zip(clear, folders)]
    return [label if labels.count(label) == 1 else f"{label} #{place}" for place, label in enumerate(labels, start=1)]


def described(runs: Runs) -> dict[str, dict[str, str]]:
    """What is known of a group's run, by name: "said", what a reader understands, and "digests"; {} for nothing."""
    facts = next((each.runs[-1] for each in runs if model_of(each)), None)
    if facts is None:
        return {}
    said = {"checkpoint": facts.checkpoint, "guard": facts.guard, **dict(flat(facts.settings))}
    said |= {name: value for name, value in flat(facts.generation) if name not in said}
    return {"said": {name: in_short(value) for name, value in said.items()}, "digests": digests(facts)}


def digests(facts: RunFacts) -> dict[str, str]:
    """What tells runs apart that are called alike: weights, fit, arguments."""
    return {"weights": facts.fingerprint, "fit": facts.guard_fingerprint or "", "arguments": facts.arguments}


def with_differences(
    name: str, facts: Mapping[str, Mapping[str, str]], all_of_them: Sequence[Mapping[str, Mapping[str, str]]],
    tiers: Sequence[str],
) -> str:  # fmt: skip
    """A name with those facts that are not the same in all groups."""
    words = []
    for tier in tiers:
        known = [each[tier] for each in all_of_them if each]
        names = dict.fromkeys(name for of_group in known for name in of_group)
        different = [one for one in names if len({of_group.get(one) for of_group in known}) > 1]
        mine = {one: facts[tier][one] for one in different if facts and facts[tier].get(one)}
        if len(mine) > MOST_NAMED:
            words.append(f"settings {digest_of(mine)}")
        else:
            joint = " " if tier == "digests" else "="
            words += [value if one == "checkpoint" else f"{one}{joint}{value}" for one, value in mine.items()]
    return f"{name} ({', '.join(words)})" if words else name


def in_short(value: Any) -> str:
    """A fact in a label: "" for none, cut after 40 characters."""
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:30]}… {digest_of(text)}"
