"""Rules of this house that no linter has.

Files stay short; none is called utils; the package imports from its modules, never from its own front door, behind
which an import upwards could hide; and no test is skipped that is not on the list.

    python .ci/check_house.py

Skips are looked for in the tests' source, before anything runs; a run looks at what was skipped in fact
(tests/helpers/expected_skips.py). Both read tests/expected_skips.txt.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Iterator

LONGEST = 350
"""Lines of a Python file; data is no Python."""
SKIPPING = ("skip", "skipif", "importorskip", "skipTest", "skipIf", "skipUnless", "SkipTest", "xfail")
FRONT_DOOR = "vlmguard_plugin"
LIST = Path("tests/expected_skips.txt")


def main() -> int:
    """Print each breach in a line; 1 where there is one."""
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [Path(name) for name in files.stdout.split("\n") if name and Path(name).is_file()]
    breaches = [
        *too_long(paths),
        *(f"{path}: say in its name what it holds" for path in paths if path.stem in ("util", "utils", "helpers")),
        *front_door_imports(path for path in paths if path.parts[0] == FRONT_DOOR),
        *unexpected_skips(path for path in paths if path.parts[0] == "tests"),
    ]
    for breach in breaches:
        print(breach)
    return 1 if breaches else 0


def too_long(paths: list[Path]) -> Iterator[str]:
    """Files with more lines than LONGEST."""
    for path in paths:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > LONGEST:
            yield f"{path}: {lines} lines; at most {LONGEST}, so split it by what it does"


def front_door_imports(paths: Iterator[Path]) -> Iterator[str]:
    """Imports of public names from the package itself, in the package."""
    own = {path.stem for path in Path(FRONT_DOOR).iterdir()} | {"__version__"}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module == FRONT_DOOR:
                names = [alias.name for alias in node.names if alias.name not in own]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name == FRONT_DOOR]
            for name in names:
                yield f"{path}:{node.lineno}: imports {name} from {FRONT_DOOR}; name the module that it is in"


def unexpected_skips(paths: Iterator[Path]) -> Iterator[str]:
    """Calls that skip a test, unless LIST has the file and the reason."""
    listed = [
        tuple(part.strip() for part in line.split(" -> ", 1))
        for line in LIST.read_text(encoding="utf-8").splitlines()
        if " -> " in line and not line.startswith("#")
    ]
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.name == "expected_skips.py":  # which watches them
            continue
        calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if not is_skip(node):
                continue
            reason = reason_of(calls.get(id(node)))
            file_listed = [why for where, why in listed if fnmatchcase(str(path), where.partition("::")[0])]
            if not any(fnmatchcase(reason, why) for why in file_listed):
                yield f"{path}:{node.lineno}: skips a test ({reason or 'no reason'}); {LIST} has no line for it"


def is_skip(node: ast.AST) -> bool:
    """Whether this is a skip of pytest or unittest: called, raised, imported, or bare as a decorator."""
    if isinstance(node, ast.Attribute):
        return node.attr in SKIPPING
    if isinstance(node, ast.ImportFrom):
        return node.module in ("pytest", "unittest", "unittest.case") and any(
            alias.name in SKIPPING for alias in node.names
        )
    return isinstance(node, ast.Call) and any(
        isinstance(argument, ast.Constant) and argument.value in ("skip", "skipif", "xfail")
        for argument in node.args
        if ast.unparse(node.func).rpartition(".")[2] in ("getattr", "add_marker")
    )


def reason_of(call: ast.Call | None) -> str:
    """The words of the call's reason, * standing for what is put into them; "" for a bare mark."""
    if call is None:
        return ""
    given = [keyword.value for keyword in call.keywords if keyword.arg == "reason"] or call.args[:1]
    if not given:
        return ""
    value = given[0]
    if isinstance(value, ast.Constant):
        return str(value.value)
    if isinstance(value, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in value.values)
    return ""


if __name__ == "__main__":
    sys.exit(main())
