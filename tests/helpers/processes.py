"""Programs run to their end."""

import os
import subprocess
import sys


def python(*arguments, environment=None, cwd=None, check=True, program=sys.executable):
    """Run a program and return it finished; its output goes into the failure."""
    done = subprocess.run(
        [str(program), *map(str, arguments)],
        env={**os.environ, **(environment or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done
