"""`vlmguard doctor`: good where all is well, and the remedy where it is not."""

import json
import os
import sys
import time
from dataclasses import asdict

import pytest
from helpers.processes import python
from packaging.requirements import Requirement

from vlmguard_plugin.hosts import checks
from vlmguard_plugin.hosts.checks import CLASHES, findings, installed

LONG = 300
"""Seconds: longer than torch's import takes beside other tests."""


def doctor(environment=None):
    done = python("-m", "vlmguard_plugin", "doctor", "--json", environment=environment, check=False)
    return done.returncode, json.loads(done.stdout)


def bad(found):
    return [finding for finding in found if finding["state"] == "bad"]


@pytest.fixture
def offline(tmp_path):
    return {"HF_HUB_OFFLINE": "1", "VLMGUARD_CACHE": str(tmp_path / "cache"), "LMUData": str(tmp_path / "data")}


def package(folder, name, version, *needs):
    """Metadata of a package as pip writes it, found before the one that is installed."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {one}" for one in needs)]
    (info / "METADATA").write_text("\n".join(lines) + "\n")


def test_all_is_well_here(offline):
    code, found = doctor(offline)
    assert code == 0 and not bad(found)
    said = " ".join(finding["what"] for finding in found)
    assert "start-up file (.pth) is run" in said and "the model hub can't be reached" in said
    assert all(finding["remedy"] for finding in found if finding["state"] != "good")


@pytest.mark.parametrize(
    "packages, named, remedy",
    [
        ({"antlr4-python3-runtime": "4.7.2", "ms-vlmeval": "0.0.20"}, "VLMEvalKit does not import", "4.11.1"),
        ({"filelock": "4.3.0", "lmms-eval": "0.7.3"}, "every evaluation of lmms-eval fails", "filelock<4.3"),
        ({"torchvision": ("0.20.0", "torch==2.5.0")}, "its import fails", "torch==2.5.0"),
    ],
)
def test_known_clashes(offline, tmp_path, packages, named, remedy):
    for name, version in packages.items():
        package(tmp_path / "site", name, *((version,) if isinstance(version, str) else version))
    code, found = doctor({**offline, "PYTHONPATH": os.pathsep.join((str(tmp_path / "site"), *sys.path))})
    assert code == 1  # of a host that is not there at all it finds more
    assert [True for finding in bad(found) if named in finding["what"] and remedy in finding["remedy"]] == [True]


def test_every_remedy_of_a_clash_ends_it():
    for clash in CLASHES:
        wanted = Requirement(clash.remedy.removeprefix("pip install ").strip("'"))
        assert wanted.name in (clash.package, clash.other)


def test_what_the_user_has_set_wrongly(offline, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for name, value, named in (
        ("VLMGUARD_DISABLE", "1", "keeps the plugin out"),
        ("VLMGUARD_CACHE", str(tmp_path / "file" / "below"), "the cache can't be written"),
        ("VLMGUARD_LLAVA", str(tmp_path), "holds no config.json"),
        ("VLMGUARD_MODELS", str(tmp_path / "none.json"), "no file"),
        ("VLMGUARD_VLMEVALKIT", str(tmp_path), "holds no run.py"),
        ("VLMGUARD_DEMO_VLM", "~nobody-here/model", "~nobody-here/model"),
        ("VLMGUARD_DTYPE", "int7", "int7"),
        ("VLMGUARD_DEVICE", "cuda:99", "cuda:99"),
        ("LMUData", str(tmp_path / "file"), "which is no folder"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(checks, "SECONDS", LONG)
            for variable, given in {**offline, name: value}.items():
                patch.setenv(variable, given)
            (finding,) = bad([asdict(one) for one in findings()])
        assert named in finding["what"] and finding["remedy"], finding


def test_what_a_clone_needs(offline, tmp_path, monkeypatch):
    """Its head does not start without rouge_score, which it doesn't name; what it does name is compared with what is
    here, and the clashes of the package are the clone's too."""
    clone = tmp_path / "clone"
    (clone / "vlmeval").mkdir(parents=True)
    for name in ("run.py", "vlmeval/__init__.py"):
        (clone / name).write_text("")
    asks = (
        "# what it asks for\nnumpy\ntorch>=99 # not yet\nno-such-package-of-ours\nwin-only; os_name == 'nt'\n-e git+x\n"
    )
    (clone / "requirements.txt").write_text(asks)
    package(tmp_path / "site", "antlr4-python3-runtime", "4.7.2")
    names = {"rouge-score": None, "ms-vlmeval": None}
    monkeypatch.setattr(checks, "installed", lambda name: names[name] if name in names else installed(name))
    monkeypatch.syspath_prepend(tmp_path / "site")
    for variable, given in {**offline, "VLMGUARD_VLMEVALKIT": str(clone)}.items():
        monkeypatch.setenv(variable, given)
    found = {one.what: one for one in findings() if one.state != "good"}
    (start,) = [what for what in found if "does not start without rouge-score" in what]
    assert found[start].state == "bad" and found[start].remedy == "pip install rouge-score"
    (asked,) = [what for what in found if "requirements.txt asks" in what]
    assert f"torch is {installed('torch')}, no-such-package-of-ours is not installed; some" in asked
    assert "win-only" not in asked and found[asked].remedy == f"pip install -r {clone / 'requirements.txt'}"
    assert any("a clone with antlr4-python3-runtime 4.7.2: VLMEvalKit does not import" in what for what in found)


def put_torch(folder, text):
    (folder / "torch").mkdir(parents=True)
    (folder / "torch" / "__init__.py").write_text(text)


def test_it_goes_on_past_what_is_broken(offline, tmp_path, monkeypatch):
    """A torch that can't be imported, and requirements that nobody can read."""
    put_torch(tmp_path / "site", "raise OSError('libcudart.so.12: cannot open')")
    package(tmp_path / "site", "torchvision", "0.20.0", "torch (==2.5 or so")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(checks, "SECONDS", LONG)
    for variable, given in offline.items():
        monkeypatch.setenv(variable, given)
    said = [one.what for one in findings() if one.state == "bad"]
    assert [what for what in said if "OSError: libcudart.so.12: cannot open" in what]
    assert [what for what in said if "InvalidRequirement" in what] and len(said) == 2


def test_torch_and_the_hub_are_not_waited_for_for_ever(offline, tmp_path, monkeypatch):
    """The process that asks torch ends with the check."""
    put_torch(tmp_path / "site", "import time; time.sleep(600)")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(checks, "SECONDS", 1)
    monkeypatch.setattr(checks, "ask_hub", lambda said: None)
    for variable, given in offline.items():
        monkeypatch.setenv(variable, given)
    began = time.monotonic()
    found = list(findings())
    assert time.monotonic() - began < 60
    torch, hub = found[-2:]
    assert torch.state == hub.state == "note" and torch.remedy and hub.remedy
    assert "it did not say in" in torch.what and "no whole answer" in hub.what


def test_without_start_up_files(offline):
    """As Python does under -S."""
    begin = f"import sys; sys.path[:] = {sys.path!r}; sys.argv[1:] = ['doctor', '--json']"
    code = f"{begin}; from vlmguard_plugin.cli.main import main; main()"
    done = python("-S", "-c", code, environment=offline, check=False)
    (finding,) = bad(json.loads(done.stdout))
    assert "start-up file (.pth) is not run" in finding["what"] and "vlmguard run HOST" in finding["remedy"]
