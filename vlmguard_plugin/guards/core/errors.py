"""What is said of a guard that is not fitted, or not on this model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class GuardNotFitted(RuntimeError):
    """A guard was used before it was fitted or loaded."""


class WrongModel(ValueError):
    """A fitted guard was put on a model it was not fitted on."""


class NoTensors(dict[str, "Tensor"]):
    """The fitted numbers of a guard that is not fitted: none, and whoever asks for one is told why."""

    def __init__(self, guard: str) -> None:
        super().__init__()
        self.guard = guard

    def __missing__(self, name: str) -> Tensor:
        raise GuardNotFitted(
            f"guard {self.guard!r} is not fitted, so there is no {name!r} yet; call guard.fit(subject, anchors) or "
            "load a fitted one"
        )
