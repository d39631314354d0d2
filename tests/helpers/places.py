"""Where things lie: the tests, the repository, and the authors' own data sets beside it."""

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
REPOSITORY = TESTS.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


def original(path):
    """The authors' own file or folder; the test is skipped where it does not lie beside the repository."""
    if not (SHARED_DATA / path).exists():
        pytest.skip(f"the authors' files are not beside the repository: shared/data/{path}")
    return SHARED_DATA / path
