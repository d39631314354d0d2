"""What a wheel holds: the whole package with its data and the startup file, and nothing else."""

import subprocess
import sys

import pytest
from helpers.places import REPOSITORY

DATA = (
    "vlmguard_plugin/py.typed",
    "vlmguard_plugin/anchors/how_to.csv",
    "vlmguard_plugin/anchors/object_in_picture.csv",
    "vlmguard_plugin/anchors/varied.csv",
    "vlmguard_plugin/pictures/picture_requests.csv",
    "vlmguard_plugin/demo/requests.csv",
    "vlmguard_plugin/demo/adapters/answers.safetensors",
    "vlmguard_plugin/demo/adapters/captions.safetensors",
    "vlmguard_plugin/leaderboard/outputs/published.csv",
    "vlmguard_plugin/leaderboard/outputs/schema.json",
    "vlmguard_plugin/leaderboard/outputs/templates/page.html",
    "vlmguard_plugin_hosts.pth",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The files that setuptools puts into a wheel, by their names there."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def files_of(folder, target):
    """Files of a folder of the repository, less what Python and git leave there, under their names in a wheel."""
    paths = (path for path in (REPOSITORY / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {f"{target}/{path.relative_to(REPOSITORY / folder).as_posix()}" for path in paths}


def test_it_holds_the_package_its_data_and_the_startup_file(built):
    package = files_of("vlmguard_plugin", "vlmguard_plugin")
    tasks = files_of("task_configs", "vlmguard_plugin/task_configs")
    assert set(built) == {*package, *tasks, "vlmguard_plugin_hosts.pth"}
    assert set(DATA) <= set(built)


def test_how_the_demo_is_trained_stays_in_the_repository(built):
    training = {path.name for path in (REPOSITORY / "training").iterdir() if path.name != "__init__.py"}
    own_names = {"train_adapter.py", "captions.py", "words.py"}
    assert own_names <= training
    assert not own_names & {name.rpartition("/")[2] for name in built}


def test_it_is_small(built):
    adapters = [size for name, size in built.items() if name.endswith(".safetensors")]
    assert len(adapters) == 4 and sum(adapters) < 60 * 2**20
    assert sum(built.values()) - sum(adapters) < 3 * 2**20
