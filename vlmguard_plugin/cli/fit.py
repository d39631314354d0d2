"""`vlmguard fit`: a guard's numbers from a model's hidden states, kept as a folder."""

from __future__ import annotations

import json
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable

import click

from vlmguard_plugin import environment
from vlmguard_plugin.cli.options import JSON, anchors_asked_for, read_grid, refuse_without, set_option
from vlmguard_plugin.files import check_writable
from vlmguard_plugin.guards.core.preset import PRESETS
from vlmguard_plugin.reading import read_json

if TYPE_CHECKING:
    from vlmguard_plugin.anchors import Anchors
    from vlmguard_plugin.guards.core.base import Guard
    from vlmguard_plugin.subjects.base import Subject


@click.command("fit")
@click.argument("guards", metavar="GUARD...", nargs=-1, required=True)
@click.option("--model", required=True, help="save_pretrained folder, hub name, or a model of `vlmguard list`.")
@click.option(
    "--anchors",
    metavar="NAME|CSV",
    help="how_to (default), varied, how_to+varied, the package's own, or a csv with the columns harmful and harmless.",
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
    "separated by commas; default: the guard's own.",
)
@click.option(
    "--preset",
    type=click.Choice(PRESETS),
    help="paper: the settings that the guard's sources give (`vlmguard list`); default: the guard's own, not those "
    "found for a demo model. --set overrides either.",
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
    "--compare-engines",
    "compared",
    is_flag=True,
    help="Afterwards, load the model on the other engine too, and write how far its states are apart to guard.json.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder to write guard.safetensors and guard.json to; of several guards, each to one of its name in there.",
)
@JSON
def fit_command(
    guards: tuple[str, ...],
    model: str,
    anchors: str | None,
    engine: str | None,
    conditions: str | None,
    preset: str | None,
    settings: dict[str, Any],
    calibrated: bool,
    bound: float,
    grid: list[dict[str, list[Any]]] | None,
    pairs: int | None,
    compared: bool,
    out: Path,
    as_json: bool,
) -> None:
    """Fit GUARDs on a model's hidden states, and save each.

    \b
    vlmguard fit vlm_guard --model llava --set rank=2 --set layers=[14,15] --out my-guard
    VLMGUARD_GUARD_DIR=my-guard python -m vlmeval.run --data FigStep --model llava_vlmguard

    Fitting runs one pass per anchor request (two for CMRM), on $VLMGUARD_DEVICE or the first GPU; what several guards
    need is recorded once. One that can't be fitted is named at the end, and the others are fitted all the same.

    \b
    vlmguard fit vlm_guard cmrm nullsteer --model llava --out my-guards

    \b
    vlmguard fit cmrm --model llava --calibrate --out my-guard

    --calibrate fits on half of the anchors and answers the other half beside pictures under each setting. It keeps
    every point that it has measured in --out, and goes on from there after a stop. It takes the setting that refuses
    most harmful anchors within --bound; where none is within it, it says so and leaves the settings as they were.
    What a model was asked under a setting is kept in the cache too, for every further calibration of it.
    Settings that --set or the sources of --preset paper give stay as they are.

    \b
    vlmguard fit vlm_guard --model llava --engine vllm --compare-engines --out my-guard

    --compare-engines puts eight anchor pairs, as text and beside pictures, to transformers and to vLLM.
    """
    from vlmguard_plugin.guards.core.registry import build_guard
    from vlmguard_plugin.hosts.guard_spec import GuardSpec, merged
    from vlmguard_plugin.inspection import engines
    from vlmguard_plugin.subjects.remembered import states_remembered

    refuse_without(calibrated, "--calibrate", "grid", "bound", "pairs")
    refuse_for_several(guards, grid is not None)
    folders = {name: out / name if len(guards) > 1 else out for name in guards}
    for folder in folders.values():
        check_writable(folder / "guard.json")
    if conditions is not None:
        if "conditions" in settings:
            raise click.UsageError("--conditions and --set conditions=... are the same setting; give one of them")
        settings = {**settings, "conditions": conditions}
    spec = GuardSpec(model, engine=engine)
    elsewhere = None
    if compared:  # else the other engine's demands are nobody's concern
        elsewhere = GuardSpec(model, engine=next(other for other in environment.ENGINES if other != spec.engine))
        if elsewhere.engine == environment.VLLM and find_spec("vllm") is None:
            raise click.UsageError("--compare-engines needs vllm; pip install 'vlmguard_plugin[vllm]' (docs/vllm.md)")
    settings = {**({"preset": preset} if preset else {}), **settings}
    unfitted = {name: build_guard(name, **merged(spec.known.guard_settings(name), settings)) for name in guards}
    for guard in unfitted.values():
        guard.check_given()
        if conditions is not None:
            guard.settings.contents()  # a folder without photos is refused before a model is loaded
    requests = anchors_asked_for(anchors)
    subject: Any = spec.load_subject()
    for guard in unfitted.values() if calibrated and grid is None else ():
        guard.grid(subject.num_layers)  # what can't be calibrated is refused before another guard's calibration
    choose = Choice(grid, tuple(settings), bound, pairs, subject) if calibrated else None
    fitted: dict[str, Guard] = {}
    failed: dict[str, Exception] = {}
    with states_remembered(subject) if len(guards) > 1 else nullcontext():
        for name, guard in unfitted.items():
            try:
                fitted[name] = fit_and_save(guard, subject, requests, choose, folders[name], not as_json)
            except (ValueError, RuntimeError) as error:  # of this guard: too few pairs, out of memory
                if len(guards) == 1:
                    raise
                failed[name] = error
                continue
            if not as_json:
                click.echo(in_words(fitted[name], subject, folders[name]))
    if elsewhere is not None and fitted:
        own = engines.seen_on(subject, fitted, requests)
        if spec.engine == environment.VLLM:
            subject.close()
        del subject  # so that the other has its memory
        other = engines.seen_on(elsewhere.load_subject(), fitted, requests)
        for name, guard in fitted.items():
            guard.facts["model"]["engines"] = engines.difference(own, other, name)
            guard.save(folders[name])
            if not as_json:
                click.echo(f"{name}: {engines.in_words(guard.facts['model']['engines'])}")
    if as_json:
        told = {name: read_json(folders[name] / "guard.json") for name in fitted}
        click.echo(json.dumps(told if len(guards) > 1 else told[guards[0]], indent=1))
    if failed:
        raise click.ClickException(in_words_of_failure(failed, fitted))


def refuse_for_several(guards: tuple[str, ...], has_grid: bool) -> None:
    """UsageError for a guard named twice, and for a grid, whose settings are one guard's, with several."""
    twice = next((name for name in guards if guards.count(name) > 1), None)
    if twice:
        raise click.UsageError(f"guard {twice!r} is named twice; name each once")
    if has_grid and len(guards) > 1:
        raise click.UsageError(f"--grid is of one guard's settings, not of {len(guards)} guards'; fit them one by one")


class Choice:
    """How settings are chosen, guard after guard: options of `calibrate`, and what calibrations share."""

    def __init__(
        self,
        grid: list[dict[str, list[Any]]] | None,
        fixed: tuple[str, ...],
        bound: float,
        pairs: int | None,
        subject: Subject,
    ) -> None:
        from vlmguard_plugin.calibration.measured import in_cache

        self.grid, self.fixed, self.bound, self.pairs = grid, fixed, bound, pairs
        self.measured = in_cache(subject)


def fit_and_save(
    guard: Guard, subject: Subject, requests: Anchors, choice: Choice | None, folder: Path, progress: bool
) -> Guard:
    """The guard, fitted, its settings chosen if that is asked for, in its folder."""
    from vlmguard_plugin.calibration.calibrate import calibrate

    if choice is None:
        fitted = guard.fit(subject, requests, progress=progress)
    else:
        fitted = calibrate(
            guard,
            subject,
            requests,
            grid=choice.grid,
            fixed=(*choice.fixed, *guard.given_by_sources),
            bound=choice.bound,
            pairs=choice.pairs,
            points_file=folder / "calibration.json",
            measured=choice.measured,
            progress=progress,
        )
    fitted.save(folder)
    return fitted


def in_words_of_failure(failed: dict[str, Exception], fitted: Iterable[str]) -> str:
    """Which guards could not be fitted and why, and which are."""
    why = "; ".join(f"{name} could not be fitted ({' '.join(str(error).split())})" for name, error in failed.items())
    return f"{why}; fitted and saved: {', '.join(fitted) or 'none'}"


def in_words(fitted: Guard, subject: Subject, folder: Path) -> str:
    """What came of it, in a line or two."""
    from vlmguard_plugin.guards.core import choice

    layers = ", ".join(str(layer) for layer in fitted.facts.get("edited_layers", ()))
    edits = f"; edits layer{'s' if ',' in layers else ''} {layers}" if layers else ""
    if fitted.needs_fit:
        pairs = fitted.facts["anchors"]["pairs"]
        line = f"Fitted {fitted.name} on {subject.fingerprint}, {pairs} pairs{edits}: {folder}"
    else:
        line = f"{fitted.name} has nothing to fit; its settings are saved: {folder}"
    calibration = fitted.facts.get("calibration")
    return f"{line}\n{choice.in_words(calibration)}" if calibration else line
