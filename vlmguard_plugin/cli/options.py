"""Options that several commands share, and how their values are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, TypeVar

import click

from vlmguard_plugin import environment
from vlmguard_plugin.reading import parsed_json
from vlmguard_plugin.statistics import levels

if TYPE_CHECKING:
    from vlmguard_plugin.anchors import Anchors

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
MAX_UNKNOWN = click.option(
    "--max-unknown",
    type=click.FloatRange(0, 1),
    default=levels.MAX_UNKNOWN,
    show_default=True,
    help="Share of unknown answers above which a rate is withheld.",
)
JUDGE = click.option(
    "--judge",
    default="rules",
    show_default=True,
    help="Who judges: rules, or a judge that `vlmguard judge` has run there.",
)
ONE_DATA_SET = click.option(
    "--data", "datasets", multiple=True, metavar="NAME", help="This data set alone; repeatable."
)


def refuse_without(given: bool, option: str, *names: str) -> None:
    """UsageError for one of this command's options `names` on the command line where `option`, its use, is not."""
    context = click.get_current_context()
    if given:
        return
    for name in names:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} goes with {option}")


def anchors_asked_for(given: str | None) -> Anchors:
    """The anchors of --anchors, else of $VLMGUARD_ANCHORS, else the package's; errors as `load_anchors`.

    Kept as text on the way, as hosts keep them: of "./varied", a file, a Path would make the set of that name.
    """
    from vlmguard_plugin.anchors import load_anchors
    from vlmguard_plugin.hosts.guard_spec import expanded

    return load_anchors(expanded(given or environment.ANCHORS.value()))


PYTHONS = {"True": True, "False": False, "None": None}
"""Values as people write them who come from Python; JSON has them in lower case, and null."""


def set_option(name: str, help_text: str) -> Callable[[Decorated], Decorated]:
    """--set NAME=VALUE, repeatable, as a dict in the argument `name`."""
    return click.option("--set", name, multiple=True, callback=read_settings, metavar="NAME=VALUE", help=help_text)


def read_settings(context: click.Context, parameter: click.Parameter, pairs: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE pairs, the values read as JSON where they are JSON."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE, as in alpha=0.5 or layers=[10,11]")
        try:
            settings[name] = PYTHONS[value] if value in PYTHONS else parsed_json(value)
        except ValueError:
            settings[name] = value
    return settings


def read_grid(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> list[dict[str, list[Any]]] | None:
    """A JSON list of {setting: [values]}, or one of these."""
    if text is None:
        return None
    try:
        grid = parsed_json(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no JSON ({error})") from error
    grid = [grid] if isinstance(grid, dict) and grid else grid
    if not isinstance(grid, list) or not all(
        isinstance(part, dict) and all(isinstance(values, list) for values in part.values()) for part in grid
    ):
        raise click.BadParameter(f'{text!r} is not a list of {{setting: [values]}}, as in [{{"alpha": [0.5, 1]}}]')
    return grid
