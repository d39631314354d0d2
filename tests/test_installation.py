"""The package installed in three ways, switched off, and out of the way of every Python that starts."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.places import REPOSITORY
from helpers.processes import python

pytestmark = pytest.mark.host


REGISTERED = (
    "import vlmeval.config as c; print([m in c.supported_VLM for m in ('llava', 'llava_vlmguard', 'demo_vlm_cmrm')])"
)
REGISTERED_IN_LM_EVAL = (
    "import lm_eval.models; from lm_eval.api.registry import model_registry as r; "
    "print([m in r for m in ('llava', 'llava-vlmguard', 'demo-vlm-cmrm')])"
)
"""Starts in a fraction of a second, where REGISTERED takes ten."""


def test_it_can_be_switched_off():
    assert "[False, False, False]" in python("-c", REGISTERED, environment={"VLMGUARD_DISABLE": "1"}).stdout


def test_a_failing_registration_costs_one_line():
    broken = (
        "import vlmguard_plugin.hosts.autoload as a; a.AFTER_IMPORT['vlmeval.config'] = 'no_such_module:register'; "
    )
    done = python("-c", broken + REGISTERED)
    assert "[False, False, False]" in done.stdout
    assert [line for line in done.stderr.splitlines() if line.startswith("vlmguard:")] == [
        "vlmguard: could not register with vlmeval.config (ModuleNotFoundError: No module named 'no_such_module'); "
        "the host goes on without it"
    ]


def test_starting_python_imports_nothing_heavy():
    done = python(
        "-c",
        "import sys; print([m for m in ('torch', 'numpy', 'importlib.metadata') if m in sys.modules], "
        "'vlmguard_plugin.hosts.autoload' in sys.modules)",
    )
    assert done.stdout.strip() == "[] True"


@pytest.mark.parametrize(
    "form, registered",
    [("wheel", REGISTERED_IN_LM_EVAL), ("sdist", REGISTERED_IN_LM_EVAL), ("editable", REGISTERED)],
    ids=["wheel", "sdist", "editable"],
)
def test_installed_and_uninstalled(form, registered, tmp_path):
    """In an environment of its own, which borrows the libraries of this one."""
    source = tmp_path / "source"
    root = REPOSITORY
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "dist", "*.egg-info", "demo-output", "__pycache__")
    shutil.copytree(root, source, ignore=ignored)
    python("-m", "venv", tmp_path / "venv", "--without-pip")
    program = tmp_path / "venv" / "bin" / "python"
    site = Path(python("-c", "import sysconfig; print(sysconfig.get_path('purelib'))", program=program).stdout.strip())
    libraries = Path(find_spec("torch").origin).parents[1]
    (site / "libraries.pth").write_text(f"{libraries}\n")
    if (libraries / "torchvision_operators.py").is_file():
        (site / "torchvision_operators.pth").write_text("import torchvision_operators\n")
    before = {path.name for path in site.iterdir()}
    if form == "sdist":
        python("-m", "build", "--sdist", "--no-isolation", "--outdir", tmp_path / "dist", source)
        what = [next((tmp_path / "dist").glob("*.tar.gz"))]
    else:
        what = ["--editable", source] if form == "editable" else [source]
    pip = ["-m", "pip", "--python", program]
    python(*pip, "install", "--quiet", "--no-deps", "--no-build-isolation", *what)
    assert "[True, True, True]" in python("-c", registered, program=program, cwd=tmp_path).stdout
    listed = python(tmp_path / "venv" / "bin" / "vlmguard", "list", "--json", program=program, cwd=tmp_path).stdout
    assert set(json.loads(listed)["guards"]) >= {"vlm_guard", "cmrm", "cmrm_sample", "ecso", "self_reminder"}
    python(*pip, "uninstall", "--yes", "vlmguard_plugin")
    assert {path.name for path in site.iterdir()} - before <= {"__pycache__"}
