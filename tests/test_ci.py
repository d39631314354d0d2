"""The job files of the hosting: what they run is there."""

import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import requires

import pytest
import yaml
from helpers.places import REPOSITORY
from packaging.requirements import Requirement

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


def steps(workflow):
    return [step for job in yaml.safe_load(workflow.read_text())["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_what_they_run_is_there(workflow):
    setup = (REPOSITORY / "setup.py").read_text()
    for command in (step["run"] for step in steps(workflow) if "run" in step):
        for path in re.findall(r"(?<![\w/$}-])(?:\.ci|tests)/[\w/.-]*\w(?=\s|$)", command):
            assert (REPOSITORY / path).exists(), path
        for extra in ",".join(re.findall(r"\"\.\[([\w,-]+)", command)).split(","):
            assert not extra or f'"{extra}": ' in setup, extra


def test_every_python_that_the_package_allows_is_tried():
    (tests,) = [path for path in WORKFLOWS if path.stem == "tests"]
    tried = yaml.safe_load(tests.read_text())["jobs"]["pythons"]["strategy"]["matrix"]["python"]
    lowest = re.search(r'python_requires=">=(3\.\d+)"', (REPOSITORY / "setup.py").read_text())[1]
    minors = [int(version.partition(".")[2]) for version in tried]
    assert tried[0] == lowest and minors == list(range(minors[0], minors[0] + len(minors)))


@pytest.mark.host
def test_pinned_versions_are_such_that_the_hosts_allow():
    """pip refuses a constraint that a host's own requirements exclude."""
    (tests,) = [path for path in WORKFLOWS if path.stem == "tests"]
    jobs = yaml.safe_load(tests.read_text())["jobs"]
    kept = re.search(r"grep -E '(.+)' constraints\.txt > pinned\.txt", jobs["hosts"]["steps"][2]["run"])[1]
    lines = [line for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if re.match(kept, line)]
    pinned = dict(line.replace("_", "-").split("==") for line in lines)
    assert {"ms-vlmeval", "lmms-eval", "lm-eval"} < set(pinned)
    for host in ("ms-vlmeval", "lmms-eval", "lm-eval"):
        for wanted in map(Requirement, requires(host)):
            assert pinned.get(wanted.name, "") == "" or pinned[wanted.name] in wanted.specifier, (host, wanted)


@pytest.mark.slow
def test_what_runs_without_hosts_and_tools_needs_none():
    """The job `pythons` installs neither: nothing that it collects imports one."""
    (tests,) = [path for path in WORKFLOWS if path.stem == "tests"]
    (step,) = [step for step in steps(tests) if "not slow and not host" in step.get("run", "")]
    hidden = ("vlmeval", "lmms_eval", "lm_eval", "mypy", "importlinter", "grimp", "peft")
    words = [*shlex.split(step["run"])[3:], "--collect-only", "-q", "-n", "0"]
    code = f"import sys; sys.modules.update(dict.fromkeys({hidden})); import pytest; sys.exit(pytest.main({words}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_a_wheel_is_checked(tmp_path):
    """A wheel built here passes; without its startup file, or with a test in it, it does not."""
    source = tmp_path / "source"
    names = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "vlmguard_plugin", "task_configs")
    source.mkdir()
    for name in names:
        (shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy)(REPOSITORY / name, source / name)
    words = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "dist"),
        str(source),
    ]
    subprocess.run(words, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")

    def check(path):
        words = [sys.executable, str(REPOSITORY / ".ci" / "check_wheel.py"), str(path)]
        return subprocess.run(words, capture_output=True, text=True)

    assert check(wheel).returncode == 0, check(wheel).stderr
    spoilt = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(spoilt, "w") as copy:
        for name in whole.namelist():
            if not name.endswith(".pth"):
                copy.writestr(name, whole.read(name))
        copy.writestr("tests/test_ci.py", "")
    done = check(spoilt)
    assert done.returncode == 1 and "startup file is missing" in done.stderr and "tests/test_ci.py" in done.stderr
