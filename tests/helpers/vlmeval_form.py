"""VLMEvalKit as it is imported here: the installed package, or a git clone that PYTHONPATH names. Where it is not here,
this can be imported all the same."""

import json
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vlmguard_plugin.runs.vlmevalkit_command import commit_of, is_clone

HERE = find_spec("vlmeval")
FOLDER = Path(HERE.origin).parents[1] if HERE else Path("vlmeval-is-not-here")
CLONE = FOLDER if is_clone(FOLDER) else None
COMMAND_FILE = (CLONE or FOLDER / "vlmeval") / "run.py"
WORDS = (str(COMMAND_FILE),) if CLONE else ("-m", "vlmeval.run")
"""What starts its command, behind `python`."""
START = "\nimport runpy\n" + (
    f"runpy.run_path({str(COMMAND_FILE)!r}, run_name='__main__')\n"
    if CLONE
    else "runpy.run_module('vlmeval.run', run_name='__main__')\n"
)
"""The same as code, at the end of a script."""
VERSION = f"git {commit_of(CLONE)}" if CLONE else version("ms-vlmeval") if HERE else ""
"""As facts of its runs name it."""


def status_of(folder: Path, dataset: str) -> dict[str, Any]:
    """What the host's last status.json that knows a data set says of it, in a model's folder or its run folders."""
    files = [folder / "status.json", *sorted(folder.glob("T*/status.json"), reverse=True)]
    known = [json.loads(file.read_text())["datasets"] for file in files if file.is_file()]
    return next(datasets[dataset] for datasets in known if dataset in datasets)


def of_last_run(folder: Path, name: str) -> Path:
    """A file in a model's folder, or in the last of its run folders, which the clone's head makes; the first of both
    where it is in neither."""
    places = [folder / name, *sorted(folder.glob(f"T*/{name}"), reverse=True)]
    return next((path for path in places if path.is_file()), places[0])
