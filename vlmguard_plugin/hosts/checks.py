"""What of an environment helps or hinders: hosts and their known clashes, torch, the start-up hook, folders, the hub.

No host is imported and no model loaded: versions are read from what is installed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from importlib.metadata import requires
from pathlib import Path
from threading import Thread
from typing import Callable, Iterator

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from vlmguard_plugin import environment
from vlmguard_plugin.benchmarks.tsv import SIDECAR, lmu_data
from vlmguard_plugin.environment import Variable
from vlmguard_plugin.files import cache_directory
from vlmguard_plugin.hosts.finding import Finding, installed
from vlmguard_plugin.hosts.models import MODELS
from vlmguard_plugin.hosts.slow_checks import SECONDS, ask_hub, ask_torch, hub, torch_and_devices
from vlmguard_plugin.reading import in_line
from vlmguard_plugin.runs.vlmevalkit_command import HostNotFound, clone, commit_of

HOSTS = {"VLMEvalKit": "ms-vlmeval", "lmms-eval": "lmms-eval", "lm-evaluation-harness": "lm-eval"}
"""By name, the package that installs a host."""
UNNAMED = ("rouge-score",)
"""What VLMEvalKit's head imports without naming it among its requirements, so that it does not start; the extra
`vlmeval-clone` brings it. Look again by June 2027."""


@dataclass(frozen=True)
class Clash:
    """Versions of two packages that don't work together. why: what goes wrong. remedy: what to install."""

    package: str
    versions: str
    other: str
    other_versions: str
    why: str
    remedy: str


CLASHES = (
    Clash(
        "ms-vlmeval", "", "antlr4-python3-runtime", "!=4.11.*", "VLMEvalKit does not import",
        "pip install antlr4-python3-runtime==4.11.1",
    ),
    Clash(
        "lmms-eval", "<=0.7.3", "filelock", ">=4.3", "every evaluation of lmms-eval fails",
        "pip install 'filelock<4.3'",
    ),
    Clash(
        "transformers", "<4.57", "vlmguard_plugin", "", "decoders are looked for as 4.57 and later build them",
        "pip install 'transformers>=4.57'",
    ),
)  # fmt: skip


def findings() -> Iterator[Finding]:
    """All of them, in the order in which they are looked at; none raises. It takes no more than about SECONDS."""
    until = time.monotonic() + SECONDS
    hub_asked: Future[str | None] = Future()
    Thread(target=ask_hub, args=[hub_asked], daemon=True).start()
    with ask_torch() as torch_asked:
        last = (partial(torch_and_devices, torch_asked, until), partial(hub, hub_asked, until))
        try:
            for look in (*LOOKS, *last):
                yield from tried(look)
        finally:
            torch_asked.kill()


def tried(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What was found by one of LOOKS; what it raises is a finding too."""
    try:
        yield from look()
    except Exception as error:  # noqa: BLE001 - whatever a broken environment raises is what was to be found
        name = getattr(look, "func", look).__name__.replace("_", " ")
        yield Finding("bad", f"{name}: {in_line(error)}", "mend, reinstall or unset what it names")


def path_of(variable: Variable) -> Path | None:
    """A variable's path; None too where it is none, which `variables` has said."""
    try:
        return variable.path()
    except ValueError:
        return None


def interpreter() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("good", f"Python {python}, vlmguard_plugin {installed('vlmguard_plugin') or 'not installed'}")


def start_up() -> Iterator[Finding]:
    if (environment.DISABLE.value() or "0").lower() not in ("0", "false", "no"):
        yield Finding("bad", f"${environment.DISABLE.name} keeps the plugin out of the hosts", "unset it")
    elif "vlmguard_plugin.hosts.autoload" in sys.modules:  # nobody imports it but the start-up file
        yield Finding("good", "the start-up file (.pth) is run: hosts find the guarded models by themselves")
    else:
        yield Finding(
            "bad",
            "the start-up file (.pth) is not run here, so hosts don't know the guarded models",
            "install with pip, without --target, and leave python -S; or start hosts by `vlmguard run HOST ...`",
        )


def variables() -> Iterator[Finding]:
    for variable in environment.VARIABLES:
        try:
            variable.value()
            if variable.kind.endswith(("folder", "file")):
                variable.path()
        except ValueError as error:
            yield Finding("bad", *str(error).split("; ", 1))


def hosts() -> Iterator[Finding]:
    try:
        folder = clone()
    except HostNotFound as error:
        yield Finding("bad", *str(error).split("; ", 1))
        folder = None
    for name, package in HOSTS.items():
        found = installed(package)
        if folder and name == "VLMEvalKit":
            yield Finding("good", f"{name} {commit_of(folder)} (the git clone {folder})")
            yield from needs_of_clone(folder)
            if found:
                yield Finding(
                    "note",
                    f"{package} {found} is installed too: commands outside of the clone's folder use that one",
                    f"pip uninstall {package}, or start the one that you mean",
                )
        elif found:
            yield Finding("good", f"{name} {found}")
        else:
            extra = package.removeprefix("ms-")
            yield Finding("note", f"{name} is not installed", f"pip install 'vlmguard_plugin[{extra}]'")


def needs_of_clone(folder: Path) -> Iterator[Finding]:
    """What a clone of VLMEvalKit asks for, and what it needs besides, as far as it is not here."""
    lacks = [f"{package}, which it imports without asking for it" for package in UNNAMED if not installed(package)]
    if lacks:
        yield Finding("bad", f"the clone does not start without {lacks[0]}", f"pip install {' '.join(UNNAMED)}")
    file = folder / "requirements.txt"
    others = [other for line in lines_of(file) if (other := otherwise(line))]
    if others:
        yield Finding(
            "note", f"otherwise than {file} asks: {', '.join(others)}; some may be needed", f"pip install -r {file}"
        )


def lines_of(file: Path) -> list[str]:
    """A text file's lines; none where there is no such file."""
    return file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []


def otherwise(line: str) -> str:
    """What is installed otherwise than a line of a requirements.txt asks; "" where nothing is, or it asks for no
    package by name."""
    try:
        wanted = Requirement(line.partition(" #")[0].strip())
    except InvalidRequirement:  # a comment, an option or an address
        return ""
    if wanted.marker and not wanted.marker.evaluate():
        return ""
    found = installed(wanted.name)
    if found is None:
        return f"{wanted.name} is not installed"
    return "" if wanted.specifier.contains(found, prereleases=True) else f"{wanted.name} is {found}"


def of_host(package: str) -> str | None:
    """A package's version as `installed` has it; of VLMEvalKit a clone stands for any."""
    try:
        cloned = package == HOSTS["VLMEvalKit"] and clone() is not None
    except HostNotFound:
        cloned = False
    return "0" if cloned else installed(package)


def clashes() -> Iterator[Finding]:
    for clash in CLASHES:
        one, other = of_host(clash.package), installed(clash.other)
        if one is None or other is None:
            continue
        if one in SpecifierSet(clash.versions) and other in SpecifierSet(clash.other_versions):
            found = "a clone" if one == "0" else one
            yield Finding("bad", f"{clash.package} {found} with {clash.other} {other}: {clash.why}", clash.remedy)


def torchvision() -> Iterator[Finding]:
    found = installed("torchvision")
    if found is None:
        if of_host("ms-vlmeval"):
            yield Finding("bad", "VLMEvalKit imports torchvision, which is not installed", "pip install torchvision")
        return
    wanted = [one for one in map(Requirement, requires("torchvision") or ()) if one.name == "torch"]
    there = Version(installed("torch") or "0").public
    for one in wanted:
        if one.specifier and there not in one.specifier:
            yield Finding(
                "bad",
                f"torchvision {found} is made for torch{one.specifier}, and torch {there} is here: its import fails",
                f"pip install 'torch{one.specifier}' torchvision=={found}, or the torchvision of this torch",
            )
            return
    yield Finding("good", f"torchvision {found}")


def cache() -> Iterator[Finding]:
    try:
        folder = cache_directory()
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError as error:
        yield Finding(
            "bad", f"the cache can't be written: {error}", f"name another folder by ${environment.CACHE.name}"
        )
    else:
        yield Finding("good", f"cache {folder}")


def data() -> Iterator[Finding]:
    folder = lmu_data()
    if folder.exists() and not folder.is_dir():
        yield Finding("bad", f"$LMUData is {str(folder)!r}, which is no folder", "name a folder, or unset it")
        return
    sets = len(list(folder.glob(f"*{SIDECAR}"))) if folder.is_dir() else 0
    state, remedy = ("good", "") if sets else ("note", "`vlmguard data prepare NAME --source ...`")
    yield Finding(state, f"{sets} prepared data sets in {folder} ($LMUData)", remedy)


def models() -> Iterator[Finding]:
    for name, model in MODELS.items():
        folder = path_of(model.variable) if model.variable else None
        if folder and model.variable:
            there = (folder / "config.json").is_file()
            what = f"{name} is {folder} (${model.variable.name})"
            yield (
                Finding("good", what)
                if there
                else Finding("bad", f"{what}, which holds no config.json", "name a save_pretrained folder, or unset it")
            )
    if (path := path_of(environment.MODELS)) and not path.is_file():
        yield Finding(
            "bad", f"${environment.MODELS.name} is {str(path)!r}, which is no file", "name a JSON, or unset it"
        )


LOOKS = (interpreter, start_up, variables, hosts, clashes, torchvision, cache, data, models)
"""What is looked at, in this order, while torch and the hub are waited for."""
