#!/usr/bin/env python
"""A wheel as it would be uploaded: startup file, commands and description are in it; tests and training are not."""

import sys
import zipfile
from email.parser import Parser

LEFT_OUT = ("training/", "tests/", "bench/", "docs/")


def problems(path: str) -> list[str]:
    """What is wrong with the wheel, a line each."""
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        about = {name.rpartition("/")[2]: wheel.read(name).decode() for name in names if ".dist-info/" in name}
    metadata = Parser().parsestr(about["METADATA"])
    found = [f"{name} does not belong into it" for name in names if name.startswith(LEFT_OUT) or name.endswith(".pyc")]
    if "vlmguard_plugin_hosts.pth" not in names:
        found.append("the startup file is missing: hosts would not find the guarded models")
    if "vlmguard = vlmguard_plugin.cli.main:main" not in about.get("entry_points.txt", ""):
        found.append("the command vlmguard is missing")
    if len(metadata.get_payload()) < 1000 or metadata["Description-Content-Type"] != "text/markdown":
        found.append("it has no long description in Markdown")
    found += [
        f"its metadata has no {field}" for field in ("License", "Requires-Python", "Summary") if not metadata[field]
    ]
    return found


if __name__ == "__main__":
    lines = [f"{path}: {problem}" for path in sys.argv[1:] for problem in problems(path)]
    print("\n".join(lines), file=sys.stderr)
    sys.exit(bool(lines) or len(sys.argv) < 2)
