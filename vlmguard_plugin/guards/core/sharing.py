"""Fitted guards handed on: to a folder, a file server or the model hub, and back."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Iterator, Mapping, Sequence

from vlmguard_plugin.guards.core.card import model_card
from vlmguard_plugin.guards.core.errors import WrongModel
from vlmguard_plugin.guards.core.places import CARD, FETCHED, HUB, SERVERS, checked_place, fetched, put
from vlmguard_plugin.guards.core.saved import DamagedGuard, FittedFolder
from vlmguard_plugin.naming import guards_in
from vlmguard_plugin.reading import visible

if TYPE_CHECKING:
    from typing_extensions import Self

    from vlmguard_plugin.subjects.base import Subject


class Shared(ABC):
    """What a guard can do to be shared; `Guard` is made of it."""

    name: str
    facts: dict[str, Any]
    files: ClassVar[tuple[str, ...]]
    needs_fit: bool

    @property
    @abstractmethod
    def parts(self) -> tuple[Any, ...]:
        """See Guard.parts."""

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """See Guard.save."""

    @abstractmethod
    def saved_settings(self) -> dict[str, Any]:
        """See Guard.saved_settings."""

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        base_model: str | None = None,
        commit_message: str = "",
    ) -> str:
        """Put the fitted guard and its card into a repository of the model hub; returns the address.

        repo_id: OWNER/NAME; it is made if need be. private: whether one that is made is; None leaves it to the hub.
        base_model: the hub's name of the model that it was fitted on, for the card.
        Logged in as huggingface_hub is. Raises GuardNotFitted, NotShared, and ValueError for a guard that needs files
        of this machine.
        """
        return self.push(
            HUB + repo_id.removeprefix(HUB), private=private, base_model=base_model, commit_message=commit_message
        )

    def push(
        self,
        place: str | Path,
        *,
        private: bool | None = None,
        base_model: str | None = None,
        figure: bytes | None = None,
        commit_message: str = "",
    ) -> str:
        """The same to any place: a folder, http(s)://... of a server that takes PUT, or hf://OWNER/NAME.

        figure: an SVG of the calibration, which then stands beside the card as calibration.svg.
        """
        place = checked_place(place)
        for part in self.parts:
            check_portable(part.name, part.files, part.unfitted_settings())
        with tempfile.TemporaryDirectory() as folder:
            self.save(folder)
            files = {name: Path(folder, name).read_bytes() for name in FETCHED}
        drawn = {} if figure is None else {"calibration.svg": figure}
        card = model_card(
            self.name,
            [(part.name, (type(part).__doc__ or "").strip().partition("\n")[0]) for part in self.parts],
            self.saved_settings(),
            self.facts,
            needs_fit=self.needs_fit,
            place=str(place) if str(place).startswith((HUB, *SERVERS)) else "PLACE",
            base_model=base_model,
            figure=next(iter(drawn), None),
        )
        return put({**files, **drawn, CARD: card.encode()}, place, private=private, message=commit_message)

    @classmethod
    def from_pretrained(cls, place: str | Path, subject: Subject | None = None, *, revision: str | None = None) -> Self:
        """A fitted guard from a folder, http(s)://... of a file server, or the hub (OWNER/NAME, hf://OWNER/NAME).

        subject: refused if the guard was fitted on another model. revision: a branch, tag or commit of the hub's.
        Nothing but guard.json and guard.safetensors is fetched, and no code is run.
        Raises NotShared, DamagedGuard, WrongModel, FileNotFoundError; ValueError for another guard than this class is,
        and for one that would read files of this machine.
        """
        registry = import_module("vlmguard_plugin.guards.core.registry")  # which is made of guards, so it comes later
        with fetched(place, revision) as folder:
            try:
                check_folder(FittedFolder.load(folder), registry.guard_classes())
                guard = registry.load_guard(folder, subject)
            except (DamagedGuard, WrongModel, FileNotFoundError) as error:  # of the place, not of a folder on the way
                raise type(error)(str(error).replace(str(folder), str(place).rstrip("/"))) from error
        if not isinstance(guard, cls):
            raise ValueError(f"{place} holds the guard {guard.name!r}, which is no {cls.__name__}; use vg.Guard")
        return guard


def check_folder(fitted: FittedFolder, classes: Mapping[str, type[Any]]) -> None:
    """`check_portable` of a folder that others have written, before anything is made of its settings."""
    names = guards_in(fitted.guard)
    for name in names:
        own = fitted.settings if len(names) == 1 else fitted.settings.get(name)
        if name in classes and isinstance(own, dict):
            check_portable(name, classes[name].files, own)


def check_portable(guard: str, files: Sequence[str], settings: Mapping[str, Any]) -> None:
    """ValueError for settings that name files: these are no part of a guard, and another machine has others.

    guard: its name. files: the settings that name a file whose content the guard uses.
    """
    for name in files:
        if settings.get(name) is not None:
            raise ValueError(
                f"guard {guard!r} can't be shared: {name} names the file {visible(str(settings[name]))!r}, which is no "
                "part of a fitted guard; share its settings and the file in a --config file instead"
            )
    for name, value in settings.items():
        for text in texts_in(value):
            if Path(text.partition("=")[2] or text).is_absolute():
                raise ValueError(
                    f"guard {guard!r} can't be shared: {name} names {visible(text)!r}, a place of one machine; fit it "
                    "again with a path relative to the current folder"
                )


def texts_in(value: Any) -> Iterator[str]:
    """All strings in plain data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts_in(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from texts_in(inner)
