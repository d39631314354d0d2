"""`vlmguard pull`: a fitted guard from a folder, a file server or the model hub."""

from __future__ import annotations

from pathlib import Path

import click

from vlmguard_plugin.files import check_writable
from vlmguard_plugin.reading import visible


@click.command("pull")
@click.argument("place")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder to write guard.safetensors and guard.json to."
)
@click.option("--revision", metavar="NAME", help="A branch, tag or commit of the hub's repository.")
def pull_command(place: str, out: Path, revision: str | None) -> None:
    """Get a fitted guard that others have shared.

    PLACE is a folder, a file server or a repository of the model hub.

    \b
    vlmguard pull /shared/guards/my-guard --out my-guard
    vlmguard pull https://files.example.org/my-guard --out my-guard
    vlmguard pull hf://somebody/my-guard --revision v1 --out my-guard
    VLMGUARD_GUARD_DIR=my-guard python -m vlmeval.run --data FigStep --model llava_vlmguard

    Only guard.json and guard.safetensors are fetched. No code is run, no pickle is loaded, and files that don't belong
    together are refused.
    """
    from vlmguard_plugin.guards.core.base import Guard

    check_writable(out / "guard.json")
    guard = Guard.from_pretrained(place, revision=revision)
    guard.save(out)
    model = guard.facts["model"]
    fitted = f"fitted on {visible(model['fingerprint'])} ({model['num_layers']} layers, width {model['hidden_size']})"
    click.echo(f"{guard.name}, {fitted if guard.needs_fit else 'which needs no fit'}, is in {out}")
