"""What names a guarded model, the same on every host: built once from arguments and environment, then checked."""

from __future__ import annotations

import os
import re
import sys
from copy import deepcopy
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Mapping

from vlmguard_plugin import environment
from vlmguard_plugin.anchors import Anchors, load_anchors
from vlmguard_plugin.engines.vllm.options import OPTIONS, checked_options
from vlmguard_plugin.environment import VLLM
from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.cached import load_or_fit
from vlmguard_plugin.guards.core.registry import build_guard, describe_guards, load_guard
from vlmguard_plugin.guards.core.saved import DamagedGuard
from vlmguard_plugin.hosts.models import MODELS, Model
from vlmguard_plugin.naming import ANY_CHECKPOINT

if TYPE_CHECKING:
    from vlmguard_plugin.engines.vllm.subject import VLLMSubject
    from vlmguard_plugin.subjects.base import Subject
    from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject


@dataclass(frozen=True)
class GuardSpec:
    """A model, and the guard that goes onto it. What is not given is taken from the environment (vlmguard env).

    model: name in MODELS, a save_pretrained folder or a hub name; for a model object of a host's own its name there.
    guard: registered name, or several joined by "+"; None for none.
    settings: of the guard, as the user gives them; of a composition, {guard name: {setting: value}}.
    guard_dir: a fitted guard's folder, which must hold this guard; $VLMGUARD_GUARD_DIR counts where it does.
    anchors: what to fit on: a csv, or a name of `anchors.SETS`; None for the package's "how_to".
    max_new_tokens: length of an answer, in tokens; None for the model's own in MODELS.
    device, dtype, batch_size: see subjects.loading.load_subject.
    engine: what the model runs on, one of environment.ENGINES. engine_options: vLLM's own, by name
        (engines.vllm.options), which hosts are given beside the others.

    Raises ValueError or FileNotFoundError for a wrong guard, setting, folder, csv or number, in one line that names
    it: all before a model is loaded.
    """

    model: str
    guard: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    guard_dir: str | None = None
    anchors: str | None = None
    max_new_tokens: int | None = None
    device: str | None = None
    dtype: str | None = None
    batch_size: int | None = None
    engine: str | None = None
    engine_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from_environment = {
            "settings": MappingProxyType(deepcopy(dict(self.settings))),
            "anchors": expanded(self.anchors or environment.ANCHORS.value()),
            "max_new_tokens": _whole("max_new_tokens", self.max_new_tokens) or environment.MAX_NEW_TOKENS.whole(),
            "device": self.device or environment.DEVICE.value(),
            "dtype": self.dtype or environment.DTYPE.value(),
            "batch_size": _whole("batch_size", self.batch_size) or environment.BATCH_SIZE.whole(),
            "engine": self.engine or environment.ENGINE.value() or environment.TRANSFORMERS,
            "engine_options": MappingProxyType(checked_options(self.engine_options)),
        }
        refuse_ways_of_loading(self.settings)
        if self.guard is None:
            self._refuse_what_belongs_to_a_guard()
        else:
            wanted = self.unfitted_guard()
            from_environment["guard_dir"] = self._folder_of(wanted.name)
        for name, value in from_environment.items():
            object.__setattr__(self, name, value)
        if self.dtype not in (None, *environment.DTYPE_NAMES):
            names = ", ".join(environment.DTYPE_NAMES)
            raise ValueError(f"dtype is {self.dtype!r}; choose one of {names}")
        self._check_engine()
        if self.guard is not None:
            (self._saved_guard() or wanted).check_given()
            self.read_anchors()

    @classmethod
    def of(cls, model: str, guard: str | None = None, **arguments: Any) -> GuardSpec:
        """From a host's arguments: those that are named as here, and the guard's settings."""
        settings = {name: value for name, value in arguments.items() if name not in (*ARGUMENTS, *OPTIONS)}
        options = {name: arguments[name] for name in OPTIONS if arguments.get(name) is not None}
        own = {name: arguments[name] for name in ARGUMENTS if name in arguments}
        return cls(model, guard, settings, **own, engine_options=options)

    @property
    def known(self) -> Model:
        """What MODELS says of the model; of any other checkpoint its name alone."""
        return MODELS.get(self.model, Model(self.model))

    @property
    def answer_tokens(self) -> int:
        """Length of an answer, in tokens."""
        return self.max_new_tokens or self.known.max_new_tokens

    def read_anchors(self) -> Anchors:
        """The anchors that a guard is fitted on."""
        return load_anchors(self.anchors)

    def load_subject(self) -> HuggingFaceSubject | VLLMSubject:
        """The model, loaded."""
        from vlmguard_plugin.subjects.loading import NotHere, load_subject

        known = self.known
        try:
            checkpoint = known.folder_or_name()
            if self.engine == VLLM:
                from vlmguard_plugin.engines.vllm.subject import VLLMSubject

                return VLLMSubject(checkpoint, dtype=self.dtype, batch_size=self.batch_size, **self.engine_options)
            return load_subject(checkpoint, device=self.device, dtype=self.dtype, batch_size=self.batch_size)
        except NotHere as error:
            if known.variable is None:
                raise
            raise NotHere(f"{error}: ${known.variable.name} names it") from error

    def unfitted_guard(self) -> Guard:
        """The guard under its settings, those known for the model before the guard's own defaults; not fitted."""
        if self.guard is None:
            raise ValueError(f"{self.model}: no guard is named; add guard=NAME")
        return build_guard(self.guard, **merged(self.known.guard_settings(self.guard), self.settings))

    def fitted_guard(self, subject: Subject) -> Guard:
        """The guard ready for use on the model: from its folder, or fitted now or taken from the cache.

        Raises WrongModel where the folder's guard was fitted on another model, ValueError where no guard is named.
        """
        saved = self._saved_guard()
        if saved is not None:
            saved.check_fits(subject)
            return saved
        return load_or_fit(self.unfitted_guard(), subject, self.read_anchors())

    def guard_at_hand(self) -> Guard:
        """The guard of the folder, or as built: for a model that is elsewhere, on which nothing can be fitted."""
        return self._saved_guard() or self.unfitted_guard()

    def _saved_guard(self) -> Guard | None:
        """The guard of the folder under the settings given; None without a folder."""
        if self.guard_dir is None:
            return None
        saved = load_guard(self.guard_dir)
        return saved.with_settings(**dict(self.settings)) if self.settings else saved

    def _folder_of(self, guard: str) -> str | None:
        """The folder of the fitted guard; ValueError where one was named that holds another guard."""
        folder = expanded(self.guard_dir or environment.GUARD_DIR.value())
        if folder is None:
            return None
        try:
            held = load_guard(folder).name
        except (DamagedGuard, FileNotFoundError) as error:
            if self.guard_dir is not None:
                raise
            raise type(error)(f"{error} (the folder of ${environment.GUARD_DIR.name})") from error
        if held == guard:
            return folder
        if self.guard_dir is not None:
            raise ValueError(f"guard_dir {folder!r} holds the guard {held!r}, but {guard!r} was asked for")
        print(
            f"vlmguard: ${environment.GUARD_DIR.name} holds the guard {held}, so {self.model} gets a {guard} fitted on "
            "its anchors, or taken from the cache",
            file=sys.stderr,
        )
        return None

    def _check_engine(self) -> None:
        """ValueError for an engine that there is none of, and for what does not go with it."""
        if self.engine not in environment.ENGINES:
            raise ValueError(f"engine is {self.engine!r}; choose one of {', '.join(environment.ENGINES)}")
        if self.engine_options and self.engine != VLLM:
            raise ValueError(f"{', '.join(self.engine_options)}: belongs to engine={VLLM}; add it, or leave this out")
        if self.engine == VLLM and self.device not in (None, "cpu", "cuda", "cuda:0"):
            raise ValueError(
                f"device is {self.device!r}, but vLLM takes the devices that it sees; name them in "
                "$CUDA_VISIBLE_DEVICES and leave device out"
            )

    def _refuse_what_belongs_to_a_guard(self) -> None:
        strangers = [name for name in self.settings if name not in settings_of_guards()]
        if strangers:
            raise ValueError(
                f"{', '.join(strangers)}: neither an argument here ({', '.join(ARGUMENTS)}) nor a setting of any "
                "guard; leave it out, or spell it as `vlmguard list` does"
            )
        given = [*self.settings, *(name for name in ("guard_dir", "anchors") if getattr(self, name))]
        if not given:
            return
        name = "NAME"
        if self.guard_dir and Path(self.guard_dir).is_dir():
            try:
                name = load_guard(self.guard_dir).name
            except (DamagedGuard, FileNotFoundError):
                pass  # what is wrong with it matters once a guard is named
        raise ValueError(f"{', '.join(given)}: belongs to a guard, but none is named; add guard={name}")


LOADING = re.compile(
    r"load_in_\w+|bnb_\w+|\w*quantization\w*|quant_method|device_map|torch_dtype|attn_implementation|revision|subfolder"
    r"|peft|adapter|delta|parallelize|low_cpu_mem_usage|use_safetensors|max_memory|offload_folder"
)
"""Arguments that other models of the hosts hand on to transformers."""
ARGUMENTS = tuple(
    known.name for known in fields(GuardSpec) if known.name not in ("model", "guard", "settings", "engine_options")
)
"""What hosts may be given beside model and guard; all other arguments are the guard's settings."""


def settings_of_guards() -> set[str]:
    """All names that a guard's settings may have, presets, and guards' own, as settings of a composition are given."""
    guards = describe_guards()
    return {"preset", *guards, *(setting for guard in guards.values() for setting in guard["settings"])}


def refuse_ways_of_loading(settings: Mapping[str, Any]) -> None:
    """ValueError for arguments of transformers' from_pretrained: they are no guard's, and models are loaded plainly."""
    for name in settings:
        if LOADING.fullmatch(name):
            raise ValueError(
                f"{name}: a checkpoint is loaded as it is stored, on `device` and in `dtype`; give one that is saved "
                "as you want it (quantised, say), or load the model yourself and put it into a HuggingFaceSubject"
            )


def agreed_guard(of_name: str | None, given: str | None, host_name: str) -> str | None:
    """The guard of a model's name on a host, or the one given where the name says nothing.

    ValueError where they differ.
    """
    if of_name and given not in (None, of_name):
        raise ValueError(f"guard is {given!r}, but {host_name} has the guard {of_name!r}; use --model {ANY_CHECKPOINT}")
    return of_name or given


def merged(known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Known settings with the given ones before them; of a composition, guard by guard.

    A preset among the given ones stands in the place of all known ones.
    """
    if given.get("preset") is not None:
        return dict(given)
    together = {
        name: merged(value, given[name])
        for name, value in known.items()
        if isinstance(value, dict) and isinstance(given.get(name), dict)
    }
    return {**known, **given, **together}


def expanded(path: str | None) -> str | None:
    """A path with the home directory in the place of ~."""
    return None if path is None else os.path.expanduser(path)


def _whole(name: str, value: int | str | None) -> int | None:
    """A number that hosts hand over as a number or as its digits; ValueError for anything but 1 and more."""
    if value is None:
        return None
    digits = str(value)
    if isinstance(value, bool) or not (digits.isascii() and digits.isdigit() and int(digits) >= 1):
        raise ValueError(f"{name} is {value!r}; give a whole number of at least 1")
    return int(digits)
