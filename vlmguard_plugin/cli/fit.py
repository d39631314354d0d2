"""`vlmguard fit`: a guard's numbers from a model's hidden states, kept as a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vlmguard_plugin import environment
from vlmguard_plugin.cli.options import JSON, read_grid, refuse_without, set_option
from vlmguard_plugin.files import check_writable
from vlmguard_plugin.guards.core.preset import PRESETS


@click.command("fit")
@click.argument("guard")
@click.option("--model", required=True, help="save_pretrained folder, hub name, or a model of `vlmguard list`.")
@click.option(
    "--anchors",
    type=click.Path(path_type=Path),
    help="how_to (default) or varied, the package's own, or a csv with the columns harmful and harmless.",
)
@click.option(
    "--engine",
    type=click.Choice(environment.ENGINES),
    help="What the model runs on; default: $VLMGUARD_ENGINE, else transformers.",
)
@click.option(
    "--conditions",
    metavar="LIST",
    help="Of a guard that is fitted beside pictures: text, blank, noise, shape, word, colour, object, photos=FOLDER, "
    "with commas between; default: the guard's own.",
)
@click.option(
    "--preset",
    type=click.Choice(PRESETS),
    help="paper: the settings that the guard's sources give (`vlmguard list`); default: the guard's own, not those "
    "found for a demo model. --set goes before either.",
)
@set_option("settings", "A setting of the guard, e.g. layers=[10,11]; repeatable.")
@click.option(
    "--calibrate", "calibrated", is_flag=True, help="Choose the settings on held-out anchors beside pictures."
)
@click.option(
    "--bound",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="With --calibrate: over-refusal that may be added, as a share.",
)
@click.option(
    "--grid",
    callback=read_grid,
    metavar="JSON",
    help='With --calibrate: settings to try, as [{"alpha": [0.5, 1]}]; default: the guard\'s own.',
)
@click.option(
    "--pairs", type=click.IntRange(2), help="With --calibrate: held-out pairs that are answered; default: all."
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder to write guard.safetensors and guard.json to."
)
@JSON
def fit_command(
    guard: str,
    model: str,
    anchors: Path | None,
    engine: str | None,
    conditions: str | None,
    preset: str | None,
    settings: dict[str, Any],
    calibrated: bool,
    bound: float,
    grid: list[dict[str, list[Any]]] | None,
    pairs: int | None,
    out: Path,
    as_json: bool,
) -> None:
    """Fit GUARD on a model's hidden states and save it as a folder.

    \b
    vlmguard fit vlm_guard --model llava --set rank=2 --set layers=[14,15] --out my-guard
    VLMGUARD_GUARD_DIR=my-guard python -m vlmeval.run --data FigStep --model llava_vlmguard

    Fitting runs one pass per anchor request (two for CMRM), on $VLMGUARD_DEVICE or the first GPU.

    \b
    vlmguard fit cmrm --model llava --calibrate --out my-guard

    --calibrate fits on half of the anchors and answers the other half beside pictures under each setting. It keeps
    every point it has measured in --out and goes on from them when it was stopped. It takes the setting that refuses
    most harmful anchors within --bound; where none is within it, it says so and leaves the settings as they were.
    Settings that --set or the sources of --preset paper give stay as they are.
    """
    from vlmguard_plugin.anchors import load_anchors
    from vlmguard_plugin.calibration.calibrate import calibrate
    from vlmguard_plugin.calibration.choice import in_words
    from vlmguard_plugin.guards.core.registry import build_guard
    from vlmguard_plugin.hosts.guard_spec import GuardSpec, merged

    refuse_without(calibrated, "--calibrate", "grid", "bound", "pairs")
    check_writable(out / "guard.json")
    if conditions is not None:
        if "conditions" in settings:
            raise click.UsageError("--conditions and --set conditions=... are the same setting; give one of them")
        settings = {**settings, "conditions": conditions}
    spec = GuardSpec(model, engine=engine)
    settings = {**({"preset": preset} if preset else {}), **settings}
    fitted = build_guard(guard, **merged(spec.known.guard_settings(guard), settings))
    fitted.check_given()
    if conditions is not None:
        fitted.settings.contents()  # a folder without photos is refused before a model is loaded
    requests = load_anchors(anchors or environment.ANCHORS.path())
    subject = spec.load_subject()
    if calibrated:
        points = out / "calibration.json"
        fitted = calibrate(
            fitted,
            subject,
            requests,
            grid=grid,
            fixed=(*settings, *fitted.given_by_sources),
            bound=bound,
            pairs=pairs,
            points_file=points,
            progress=not as_json,
        )
    else:
        fitted.fit(subject, requests, progress=not as_json)
    fitted.save(out)
    if as_json:
        click.echo((out / "guard.json").read_text())
        return
    layers = ", ".join(str(layer) for layer in fitted.facts.get("edited_layers", ()))
    edits = f"; edits layers {layers}" if layers else ""
    if fitted.needs_fit:
        click.echo(f"Fitted {guard} on {subject.fingerprint}, {fitted.facts['anchors']['pairs']} pairs{edits}: {out}")
    else:
        click.echo(f"{guard} has nothing to fit; its settings are saved: {out}")
    if calibrated:
        click.echo(in_words(fitted.facts["calibration"]))
