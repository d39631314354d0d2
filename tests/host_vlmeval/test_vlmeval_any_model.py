"""Any guard on any model of VLMEvalKit, and guards of other packages, through the host's own command."""

import json
import os

import pytest
from helpers.guard_rows import ALIGNED, settings_with
from helpers.host_models import RemoteStyleVLM
from helpers.places import TESTS
from helpers.processes import forked_python as python
from helpers.vlmeval_command import predictions
from helpers.vlmeval_form import START
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.pictures.meaningless import meaningless
from vlmguard_plugin.subjects.host_object import HostSubject

pytestmark = pytest.mark.host

LAZY = """
import sys
import vlmeval.config as config
ours = [name for name in sys.modules if name.startswith("vlmguard_plugin.")]
ours = [name for name in ours if name.split(".")[1] in ("guards", "subjects", "steering")]
listed = len(config.supported_VLM)
names = ["Qwen2-VL-2B-Instruct_shiftdc", "llava_v1.5_7b_vlmguard", "InternVL2-1B_vlmguard+self_reminder", "llava_ecso"]
print(ours, sum("_shiftdc" in name for name in config.supported_VLM), [name in config.supported_VLM for name in names])
print([name in config.supported_VLM for name in ("nonesuch_cmrm", "Qwen2-VL-2B-Instruct_nonesuch", "_cmrm")])
built = config.supported_VLM["Qwen2-VL-2B-Instruct_shiftdc"]
print(built.keywords, len(config.supported_VLM) == listed, config.supported_VLM.get("nonesuch_cmrm"))
try:
    config.supported_VLM["nonesuch_cmrm"]
except KeyError as error:
    print("KeyError", error)
"""
RUN = """
import vlmeval.config
from functools import partial
from helpers.host_models import RemoteStyleVLM, TransformersVLM
vlmeval.config.supported_VLM["Remote-3B"] = RemoteStyleVLM
vlmeval.config.supported_VLM["Tiny-Qwen3-VL"] = partial(TransformersVLM, architecture="qwen3_vl")
"""


def test_every_name_is_known_and_none_is_listed():
    lines = python("-c", LAZY).stdout.strip().splitlines()[-4:]
    assert lines[0] == "[] 0 [True, True, True, True]"
    assert lines[1] == "[False, False, False]"
    assert lines[2] == "{'model': 'Qwen2-VL-2B-Instruct', 'guard': 'shiftdc'} True None"
    assert lines[3] == "KeyError 'nonesuch_cmrm'"


@pytest.fixture(scope="module")
def run_with(place, tmp_path_factory):
    """The host's command with two models of its kind and an outside package of guards; the work directory."""
    place, environment = place
    outside = tmp_path_factory.mktemp("outside")
    source = outside / "source"
    source.mkdir()
    for name in ("pyproject.toml", "outside_guard.py"):
        (source / name).write_text((TESTS / "outside_guard" / name).read_text())
    python("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", outside / "site", source)
    (place / "any.py").write_text(RUN + START)
    environment = {
        **environment,
        "PYTHONPATH": os.pathsep.join((str(outside / "site"), str(TESTS), os.environ.get("PYTHONPATH", ""))),
    }

    def run(*models, data=("Requests_mine_blank",), out="any"):
        done = python(
            place / "any.py",
            "--data",
            *data,
            "--model",
            *models,
            "--work-dir",
            place / out,
            environment=environment,
            cwd=place,
        )
        return place / out, done

    return run, environment, place


def test_guards_on_the_hosts_own_models(run_with):
    run, environment, place = run_with
    models = [
        "Remote-3B",
        *(
            f"Remote-3B_{guard}"
            for guard in ("vlmguard", "cmrm", "shiftdc", "ecso", "vlmguard+self_reminder", "outside")
        ),
    ]
    models += ["Tiny-Qwen3-VL", "Tiny-Qwen3-VL_tbop", "Tiny-Qwen3-VL_outside", "llava_outside"]
    models += ["Remote-3B_none", "Tiny-Qwen3-VL_none"]
    out, done = run(*models)
    answers = {
        model: predictions(out, model, "Requests_mine_blank")["prediction"].astype(str).tolist() for model in models
    }
    assert all(len(given) == 10 for given in answers.values()), done.stderr[-2000:]
    for guarded in ("Remote-3B_outside", "Remote-3B_vlmguard+self_reminder", "Tiny-Qwen3-VL_outside"):
        assert answers[guarded] != answers[guarded.split("_")[0]]
    for base in ("Remote-3B", "Tiny-Qwen3-VL"):
        assert answers[f"{base}_none"] == answers[base]
    line = [text for text in done.stderr.splitlines() if "'broken'" in text]
    assert len(line) == 1 and "can't be used (AttributeError" in line[0]

    subject = HostSubject(RemoteStyleVLM())
    guard = vg.build_guard("vlm_guard").fit(subject, vg.load_anchors(environment["VLMGUARD_ANCHORS"]))
    data = predictions(out, "Remote-3B_vlmguard", "Requests_mine_blank")
    blank = meaningless("blank", (28, 28))
    expected = guard.respond(subject, [vg.Query(text, (blank,)) for text in data["question"]])
    readable = [
        (expected_answer.strip(), given.strip())
        for expected_answer, given in zip(expected, answers["Remote-3B_vlmguard"])
        if expected_answer.isprintable()
    ]
    assert readable and all(expected_answer == given for expected_answer, given in readable)

    board = python("-m", "vlmguard_plugin.cli", "leaderboard", out, "--json", environment=environment)
    bases = json.loads(board.stdout)["bases"]
    assert (
        bases["Remote-3B_vlmguard+self_reminder"] == "Remote-3B" and bases["Tiny-Qwen3-VL_outside"] == "Tiny-Qwen3-VL"
    )


def test_a_config_file_sets_a_guard_on_a_host_model(run_with):
    run, environment, place = run_with
    config = {
        "model": {
            "strong": {
                "class": "GuardedHost",
                "model": "Remote-3B",
                "guard": "refusal_direction",
                "alpha": 3.0,
                "layers": [1],
            },
            "both": {
                "class": "GuardedHost",
                "model": "Tiny-Qwen3-VL",
                "guard": "tbop+self_reminder",
                "tbop": {"rank": 2},
                "model_arguments": {"max_new_tokens": 3},
            },
            "bordered": {
                "class": "GuardedVLM",
                "model": "llava",
                "guard": "visual_prompt",
                "image": str(place / "border.png"),
            },
            "aligned": {
                "class": "GuardedVLM",
                "model": "llava",
                "guard": "eta+self_reminder",
                "eta": settings_with(ALIGNED, ""),
            },
        },
        "data": {"Requests_mine_blank": {"class": "SafetyRequests", "dataset": "Requests_mine_blank"}},
    }
    Image.new("RGB", (40, 40), "red").save(place / "border.png")
    (place / "guarded.json").write_text(json.dumps(config))
    python(
        place / "any.py",
        "--config",
        place / "guarded.json",
        "--work-dir",
        place / "set",
        environment=environment,
        cwd=place,
    )
    for model in ("strong", "both", "bordered", "aligned"):
        answers = predictions(place / "set", model, "Requests_mine_blank")
        assert len(answers) == 10
    assert answers["prediction"].str.startswith("As an AI assistant").all()


def test_what_can_not_be_guarded_is_said(run_with):
    run, environment, place = run_with
    code = "from vlmguard_plugin.hosts.vlmeval.wrapped import GuardedHost; GuardedHost('GPT4o', 'cmrm')"
    done = python("-c", code, environment={**environment, "OPENAI_API_KEY": "none"}, check=False)
    assert "holds no torch model (an API" in done.stderr
    held = "import vlmeval.config as c; from helpers.host_models import RemoteStyleVLM; "
    held += "c.supported_VLM['Remote-3B'] = RemoteStyleVLM; "
    held += "from vlmguard_plugin.hosts.vlmeval.wrapped import GuardedHost; GuardedHost('Remote-3B', {!r})"
    for guard, said in (
        ("coca+self_reminder", "guard 'coca' contrasts logits, which a HostSubject keeps to itself"),
        ("visual_prompt", "a border can't be trained on a HostSubject"),
    ):
        assert said in python("-c", held.format(guard), environment=environment, check=False).stderr
    on_vllm = held.format("cmrm").replace("'cmrm'", "'cmrm', use_vllm=True")
    said = "Remote-3B can't run on vLLM in VLMEvalKit (RemoteStyleVLM knows no use_vllm)"
    assert said in python("-c", on_vllm, environment=environment, check=False).stderr
