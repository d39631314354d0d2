"""How often requests are refused on vLLM and on transformers, and how many answers differ: noise of precision, or more?

    python bench/engines_refusals.py demo_vlm --items 60 --beside shape --guard none --guard vlm_guard --json FILE

The same fitted guards on either engine. Answers of transformers in batches of another size show how far rounding alone
changes them. Answers are judged by rules and thrown away: labels and counts leave this program.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from vlmguard_plugin.demo.measures.beside import Beside
from vlmguard_plugin.demo.measures.requests import ANSWER_TOKENS, demo_requests, first_of_each
from vlmguard_plugin.environment import TRANSFORMERS, VLLM
from vlmguard_plugin.files import write_whole
from vlmguard_plugin.hosts.guard_spec import GuardSpec
from vlmguard_plugin.judges.refusal import judge
from vlmguard_plugin.query import Query

WAYS: dict[str, tuple[str, int | None]] = {
    "transformers": (TRANSFORMERS, 32),
    "vllm": (VLLM, None),
    "transformers, other batches": (TRANSFORMERS, 20),
}
"""By name: engine, and queries in a batch."""


@click.command()
@click.argument("model")
@click.option("--guard", "guards", multiple=True, default=("none", "vlm_guard"), show_default=True)
@click.option("--beside", multiple=True, default=("shape",), show_default=True)
@click.option("--items", type=click.IntRange(1), default=60, show_default=True, help="Harmful, and harmless, requests.")
@click.option("--dtype", help="Default: what the device computes well.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="File to write the rows to.")
def main(
    model: str, guards: tuple[str, ...], beside: tuple[str, ...], items: int, dtype: str | None, json_file: Path | None
) -> None:
    """Print what is known of each picture and guard so far, as it comes."""
    requests = first_of_each(demo_requests(), items)
    conditions = {
        name: [Query(one.text, Beside(name).images(number)) for number, one in enumerate(requests)] for name in beside
    }
    answers: dict[tuple[str, str], dict[str, list[str]]] = {(name, guard): {} for name in beside for guard in guards}
    for way, (engine, batch) in WAYS.items():
        specs = {guard: GuardSpec(model, guard, dtype=dtype, engine=engine, batch_size=batch) for guard in guards}
        subject = specs[guards[0]].load_subject()
        for guard, spec in specs.items():
            fitted = spec.fitted_guard(subject)
            for name, queries in conditions.items():
                own = answers[name, guard]
                own[way] = fitted.respond(subject, queries, max_new_tokens=ANSWER_TOKENS)
                click.echo(json.dumps(row_of(requests, own, name, guard)))
                if json_file:
                    rows = [row_of(requests, given, *of) for of, given in answers.items() if given]
                    facts = {"model": model, "dtype": str(subject.dtype), "items": items, "rows": rows}
                    write_whole(json_file, json.dumps(facts, indent=1))
        del subject


def row_of(requests: list[Any], answers: dict[str, list[str]], beside: str, guard: str) -> dict[str, Any]:
    """Refusals by way, and how many answers and labels differ from those of the first way."""
    first = next(iter(answers))
    labels = {way: [judge(one.text, said).label for one, said in zip(requests, own)] for way, own in answers.items()}
    row: dict[str, Any] = {"beside": beside, "guard": guard, "of": len(requests)}
    for way, own in labels.items():
        for kind in (True, False):
            refused = [label == "refusal" for label, one in zip(own, requests) if one.harmful == kind]
            row[f"{'harmful' if kind else 'harmless'} refused, {way}"] = sum(refused)
        if way != first:
            row[f"answers that differ, {way}"] = sum(a != b for a, b in zip(answers[way], answers[first]))
            row[f"labels that differ, {way}"] = sum(a != b for a, b in zip(own, labels[first]))
    return row


if __name__ == "__main__":
    main()
