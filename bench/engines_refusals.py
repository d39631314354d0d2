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
    "transformers, other batches": (TRANSFORMERS, 20),
    "vllm": (VLLM, None),
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
    """Print a row for each picture and guard."""
    requests = first_of_each(demo_requests(), items)
    conditions = {
        name: [Query(one.text, Beside(name).images(number)) for number, one in enumerate(requests)] for name in beside
    }
    answers: dict[tuple[str, str, str], list[str]] = {}
    for way, (engine, batch) in WAYS.items():
        spec = {guard: GuardSpec(model, guard, dtype=dtype, engine=engine, batch_size=batch) for guard in guards}
        subject = next(iter(spec.values())).load_subject()
        for guard in guards:
            fitted = spec[guard].fitted_guard(subject)
            for name, queries in conditions.items():
                answers[way, name, guard] = fitted.respond(
                    subject, queries, max_new_tokens=ANSWER_TOKENS, progress=f"{way}, {name}, {guard}"
                )
        del subject
    rows = [row_of(requests, {way: answers[way, name, guard] for way in WAYS}, name, guard)
            for name in beside for guard in guards]  # fmt: skip
    for row in rows:
        click.echo(json.dumps(row))
    if json_file:
        write_whole(json_file, json.dumps({"model": model, "dtype": dtype, "items": items, "rows": rows}, indent=1))


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
