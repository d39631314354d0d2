"""`vlmguard push`: a fitted guard to a folder, a file server or the model hub."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("push")
@click.argument("guard_dir", type=click.Path(path_type=Path))
@click.argument("place")
@click.option(
    "--private/--public",
    default=None,
    help="Of a hub's repository that is made; default: the hub's, which is public for most accounts.",
)
@click.option(
    "--base-model", metavar="OWNER/NAME", help="The hub's name of the model that it was fitted on, for the card."
)
@click.option("--message", default="", help="What the hub's commit says.")
def push_command(guard_dir: Path, place: str, private: bool | None, base_model: str | None, message: str) -> None:
    """Put a fitted guard where others can get it.

    PLACE is a folder, a file server or a repository of the model hub. A card goes with it that says what the guard is
    and what was measured of it.

    \b
    vlmguard push my-guard /shared/guards/my-guard              a folder
    vlmguard push my-guard https://files.example.org/my-guard   a file server that takes PUT
    vlmguard push my-guard hf://somebody/my-guard --private     the model hub, logged in as huggingface_hub is

    The card (README.md) holds the settings, the model and the anchors that the guard was fitted on, every point of its
    calibration, and the over-refusal that it was held to; with matplotlib installed, the curve too. A guard whose
    settings name files of this machine is refused.
    """
    from vlmguard_plugin.guards.core.registry import load_guard

    guard = load_guard(guard_dir)
    figure = calibration_figure(guard_dir)
    where = guard.push(place, private=private, base_model=base_model, figure=figure, commit_message=message)
    click.echo(f"{guard.name} is in {where}")


def calibration_figure(guard_dir: Path) -> bytes | None:
    """The calibration as an SVG; None where there is none, or no matplotlib."""
    from vlmguard_plugin.inspection import describe_guard
    from vlmguard_plugin.inspection.guard_figure import calibration_svg

    calibration = describe_guard(guard_dir)["calibration"]
    if calibration is None:
        return None
    try:
        return calibration_svg(calibration)
    except ImportError as error:
        click.echo(f"vlmguard: the card has no picture of the calibration: {error}", err=True)
        return None
