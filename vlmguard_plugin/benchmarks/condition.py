"""Conditions by name: what stands beside a request, and which attacks it is put in.

    text, blank, noise, ..., picture       nothing, a meaningless picture, a picture of the user's
    typography                             the request as words in a picture
    picture+typography                     the same words below a picture of the user's
    template, template+blank, ...          the request within a jailbreak's words
    picture+early6, typography+early6      the picture's features taken after 6 blocks of the vision encoder

Several at once in this order: template, what stands beside, typography, early. A condition has one name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vlmguard_plugin.benchmarks.picture import EVERY_CONDITION
from vlmguard_plugin.benchmarks.row import BenchmarkError

TEXT, PICTURE = "text", "picture"
TYPOGRAPHY, TEMPLATE = "typography", "template"
TOGETHER = "+"
EARLY = re.compile(r"early([1-9]\d{0,2})")
"""The features of the vision encoder's layer of this number: 1 is what its first block gives."""
ATTACKS = (TYPOGRAPHY, TEMPLATE)
"""Attacks that stand in lists of data sets; all combinations are known all the same."""
LISTED_CONDITIONS = (*EVERY_CONDITION, *ATTACKS)
FORM = "[template+]{" + ",".join(EVERY_CONDITION) + "}, with typography and early<LAYER> behind a picture"


@dataclass(frozen=True)
class Condition:
    """beside: of EVERY_CONDITION, what stands beside the request or above its words. typography: the request is drawn
    as words. template: it stands within a jailbreak's words. early: how many blocks of the vision encoder a picture's
    features come through, from 1; None for all that the model uses.
    """

    beside: str = TEXT
    typography: bool = False
    template: bool = False
    early: int | None = None

    @property
    def name(self) -> str:
        """Its one name."""
        parts = [TEMPLATE] if self.template else []
        parts += [self.beside] if self.beside != TEXT else []
        parts += [TYPOGRAPHY] if self.typography else []
        parts += [f"early{self.early}"] if self.early is not None else []
        return TOGETHER.join(parts) or TEXT

    @property
    def has_picture(self) -> bool:
        """Whether the model is shown one."""
        return self.typography or self.beside != TEXT

    @property
    def is_attack(self) -> bool:
        """Whether it is more than a picture beside the request."""
        return self.typography or self.template or self.early is not None


def parse_condition(name: str) -> Condition:
    """A condition by name; BenchmarkError says what is wrong with it."""
    given: dict[str, str | int | bool] = {}
    for part in name.split(TOGETHER):
        early = EARLY.fullmatch(part)
        if part in ATTACKS:
            given[part] = True
        elif early:
            given["early"] = int(early[1])
        elif part in EVERY_CONDITION:
            given["beside"] = part
        else:
            raise BenchmarkError(f"condition is {name!r}, and {part!r} is none; choose one of {FORM}")
    condition = Condition(**given)  # type: ignore[arg-type]
    if condition.name != name:
        raise BenchmarkError(f"condition is {name!r}; write it {condition.name}")
    if condition.typography and condition.beside not in (TEXT, PICTURE):
        raise BenchmarkError(
            f"condition is {name!r}; words are drawn on a picture of their own or below one of the user's: "
            f"write typography or picture+typography"
        )
    if condition.early is not None and not condition.has_picture:
        raise BenchmarkError(f"condition is {name!r}, and there is no picture whose features could be others; add one")
    return condition


def is_condition(name: str) -> bool:
    """Whether this is a condition's name."""
    try:
        parse_condition(name)
    except BenchmarkError:
        return False
    return True


def split_condition(dataset: str) -> tuple[str, Condition] | None:
    """(the set's name, its condition) of a data set's name, as ("Requests_mine", typography); None for any other."""
    stem, _, name = dataset.rpartition("_")
    return (stem, parse_condition(name)) if stem and is_condition(name) else None


def early_layer(dataset: str) -> int | None:
    """After which layer of the vision encoder a data set wants a picture's features; None for the model's own."""
    split = split_condition(dataset)
    return split[1].early if split else None
