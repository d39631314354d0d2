"""Run docs/quickstart.ipynb from top to bottom in an empty folder, and throw its outputs away.

    python docs/run_notebook.py

Stops at the first cell that fails, and says how long each took. Needs nbclient and ipykernel.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("quickstart.ipynb")
SECONDS = 900
"""How long a cell may take, at most."""
FAILED = re.compile(r"^(Error:|Traceback|Usage:|.*: command not found)", re.MULTILINE)
"""What a command's output holds that went wrong: a notebook goes on after one."""


def main() -> int:
    """0 where every cell ran."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": folder}})
        with client.setup_kernel():
            for number, cell in enumerate(notebook.cells):
                if cell.cell_type != "code":
                    continue
                start = time.monotonic()
                client.execute_cell(cell, number)
                said = "".join(output.get("text", "") for output in cell.outputs)
                print(f"cell {number}: {time.monotonic() - start:.0f} s")
                if FAILED.search(said):
                    print(said[-3000:], file=sys.stderr)
                    return 1
    print(f"all of it: {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
