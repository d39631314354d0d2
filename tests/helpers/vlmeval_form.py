"""VLMEvalKit as it is imported here: the installed package, or a git clone that PYTHONPATH names."""

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from vlmguard_plugin.runs.vlmevalkit_command import commit_of, is_clone

FOLDER = Path(find_spec("vlmeval").origin).parents[1]
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
VERSION = f"git {commit_of(CLONE)}" if CLONE else version("ms-vlmeval")
"""As facts of its runs name it."""
