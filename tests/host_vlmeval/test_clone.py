"""VLMEvalKit as its authors document it, a git clone with `python run.py`; hosts where start-up files are not run."""

import json
import os
import sys

import pytest
from helpers.places import REPOSITORY
from helpers.processes import forked_python, python
from helpers.vlmeval_command import clone_of_host
from helpers.vlmeval_form import CLONE, WORDS

from vlmguard_plugin.runs.vlmevalkit_command import HostNotFound, clone, commit_of, host_command

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def cloned(tmp_path_factory):
    return clone_of_host(tmp_path_factory.mktemp("clone") / "VLMEvalKit")


@pytest.fixture
def environment(place):
    path = os.pathsep.join((str(REPOSITORY), os.environ.get("PYTHONPATH", "")))
    return {**place[1], "PRED_FORMAT": "json", "PYTHONPATH": path}


def test_where_the_command_is(cloned, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert clone() == CLONE and host_command() == [sys.executable, *WORDS]
    monkeypatch.setenv("VLMGUARD_VLMEVALKIT", str(cloned))
    assert host_command() == [sys.executable, str(cloned / "run.py")]
    monkeypatch.setenv("VLMGUARD_VLMEVALKIT", str(tmp_path))
    with pytest.raises(HostNotFound, match="VLMGUARD_VLMEVALKIT is .* holds no run.py"):
        host_command()
    monkeypatch.delenv("VLMGUARD_VLMEVALKIT")
    monkeypatch.chdir(cloned)
    assert host_command() == [sys.executable, str(cloned / "run.py")]


def test_the_clones_own_command(cloned, environment, tmp_path):
    words = ["run.py", "--data", "Requests_mine_text", "--model", "llava", "llava_vlmguard", "--work-dir", tmp_path]
    done = forked_python(*words, environment=environment, cwd=cloned)
    for model in ("llava", "llava_vlmguard"):
        written = {path.resolve() for path in tmp_path.glob(f"{model}/**/*_vlmguard.json")}
        (run,) = [run for facts in written for run in json.loads(facts.read_text())["runs"]]
        assert run["host_version"] == f"git {commit_of(cloned)}", done.stderr[-900:]


def test_a_sweep_through_a_clone(cloned, environment, tmp_path):
    words = ["-m", "vlmguard_plugin", "sweep", "llava", "cmrm", "--data", "Requests_mine_blank", "--out", tmp_path]
    words += ["--grid", '{"alpha": [0.5]}', "--json"]
    done = python(*words, environment={**environment, "VLMGUARD_VLMEVALKIT": str(cloned)})
    assert [point["name"] for point in json.loads(done.stdout)["points"]] == ["llava", "llava_cmrm@alpha=0.5"]
    assert f"{cloned / 'run.py'} --data" in done.stderr


def test_hosts_without_start_up_files(environment, tmp_path):
    """As under `python -S`, or from a `--target` folder: the hook is not in place until the command puts it there."""
    without = {**environment, "VLMGUARD_DISABLE": "1"}  # what the start-up file does is undone
    words = ["--data", "Requests_mine_text", "--model", "llava_cmrm", "--work-dir", tmp_path / "out"]
    script = tmp_path / "late.py"
    script.write_text(
        "import os; os.environ.pop('VLMGUARD_DISABLE'); import sys\n"
        "sys.modules.pop('vlmguard_plugin.hosts.autoload', None)\n"
        "from vlmguard_plugin.cli.main import main; main()\n"
    )
    done = forked_python(script, "run", "vlmeval", *words, environment=without)
    assert list((tmp_path / "out" / "llava_cmrm").glob("**/llava_cmrm_Requests_mine_text.json")), done.stderr[-900:]
