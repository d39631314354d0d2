"""Many requests to a guarded server at once, and the same ones one by one: are the answers the same?

    python bench/server_load.py http://127.0.0.1:8000/v1 NAME --count 500 --ask off --ask 0.25

Text alone, one picture, two, a conversation; with --ask every other one for the guard as it is, and the others for each
of these in turn (docs/vllm.md: per request). Greedy, so that each answer can be had twice.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click
from engines import queries
from openai import OpenAI

from vlmguard_plugin.query import Query, Turn
from vlmguard_plugin.serving.upstream import messages


def mixed(count: int) -> list[Query]:
    """Requests of many lengths: text alone, beside one picture, beside two, and at a conversation's end."""
    made = queries(count)
    for number in range(0, count, 5):
        made[number] = Query("And now?", made[number].images, history=(*made[number].turns(), answer()))
    for number in range(3, count, 7):
        made[number] = Query(made[number].text, (*made[number].images, *made[1].images))
    return made


def answer() -> Turn:
    return Turn("assistant", (("text", "Yes."),))


@click.command()
@click.argument("url")
@click.argument("model")
@click.option("--count", type=click.IntRange(1), default=500, show_default=True)
@click.option("--tokens", type=click.IntRange(1), default=8, show_default=True)
@click.option("--ask", "asks", multiple=True, help="off, or a strength; several times for several.")
def main(url: str, model: str, count: int, tokens: int, asks: tuple[str, ...]) -> None:
    """Print how many of the answers are the same, and the seconds that both ways took."""
    client = OpenAI(base_url=url, api_key="none", timeout=1200, max_retries=0)
    wanted = [None if not asks or number % 2 else asks[number // 2 % len(asks)] for number in range(count)]
    asked = list(zip(mixed(count), wanted))

    def answered(one: tuple[Query, str | None]) -> str:
        query, guard = one
        extra: dict[str, Any] = (
            {} if guard is None else {"vllm_xargs": {"vlmguard": guard if guard == "off" else float(guard)}}
        )
        done = client.chat.completions.create(
            model=model, messages=messages(query), max_tokens=tokens, temperature=0, extra_body=extra
        )
        return str(done.choices[0].message.content)

    started = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        together = list(pool.map(answered, asked))
    between = time.perf_counter()
    alone = [answered(one) for one in asked]
    ended = time.perf_counter()
    same = sum(a == b for a, b in zip(together, alone))
    click.echo(
        f"{same} of {count} answers are the same at once ({between - started:.1f} s) and one by one "
        f"({ended - between:.1f} s); {len(set(alone))} different ones"
    )


if __name__ == "__main__":
    main()
