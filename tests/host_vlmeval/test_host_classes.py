"""VLMEvalKit's real model classes under a guard, around tiny random models: some rows of the survey."""

import subprocess
import sys

import pytest
from helpers.places import REPOSITORY
from helpers.vlmeval_form import CLONE

from vlmguard_plugin.hosts.vlmeval import engines
from vlmguard_plugin.hosts.vlmeval.engines import (
    class_arguments,
    engine_of,
    engine_options,
    wants_vllm,
    without_engine,
)

pytestmark = pytest.mark.host

DRAWN = "one by one: it draws its answers at random"
ROWS = {
    "SmolVLM-256M": ("works", "helped on text alone; unguarded it answers no text alone; in batches"),
    "paligemma-3b-mix-448": (
        "works",
        "shown a blank picture that is left out; unguarded it answers no text alone; in batches",
    ),
    "TreeVGR-7B": ("works", "needs a data set's name; in batches"),
    "Qwen3-VL-2B-Instruct": (
        "works",
        f"engine switched off; {DRAWN if CLONE else 'in batches'}",  # at the newest its class draws, at 0.01
    ),
    "InternVL2-1B": ("works with a stand-in", "helped on text alone; unguarded it answers no text alone; in batches"),
    "InternVL3_5-1B-Thinking": (
        "works with a stand-in",
        f"helped on text alone; engine switched off; unguarded it answers no text alone; {DRAWN}",
    ),
    "Qwen2-VL-2B-Instruct": ("works", "in batches"),
    "Bunny-llama3-8B": ("not tried", "remote code"),
}


@pytest.fixture(scope="module")
def surveyed(tmp_path_factory):
    """What the survey says of some names, and its page."""
    page = tmp_path_factory.mktemp("survey") / "classes.md"
    script = REPOSITORY / "bench" / "host_classes.py"
    names = [part for name in ROWS for part in ("--names", name)]
    done = subprocess.run(
        [sys.executable, script, *names, "--markdown", page], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, page.read_text()


def test_the_survey_finds_what_the_docs_say(surveyed):
    for name, (outcome, how) in ROWS.items():
        (line,) = [line for line in surveyed[0].splitlines() if f" {name} " in line]
        assert line.startswith(f"{outcome} ") and line.rstrip().endswith(f"{name:<36} {how}".rstrip()), line


def test_the_page_counts_classes_and_names(surveyed):
    page = surveyed[1]
    assert "| works | 5 | 5 |" in page and "| works with a stand-in | 1 | 2 |" in page
    assert "| together | 7 | 8 |" in page


def test_the_docs_hold_a_whole_survey():
    text = (REPOSITORY / "docs" / "host-classes.md").read_text()
    together = next(line for line in text.splitlines() if line.startswith("| together"))
    classes, names = (int(cell) for cell in together.split("|")[2:4])
    assert classes > 130 and names > 380


class TakesEngine:
    def __init__(self, use_vllm=False, **kwargs):
        self.use_vllm, self.use_lmdeploy = use_vllm, kwargs.get("use_lmdeploy", False)


class KnowsOneWay:
    def __init__(self, **kwargs):
        pass


class VLLMAlone:
    """As the host's classes that make an engine of vLLM's whatever they are told."""

    def __init__(self, engine=None):
        if engine is None:
            from vllm import LLM

            engine = LLM("checkpoint")
        self.model = engine


class HoldsEngine:
    """As what stands in the engine's place under a guard."""

    def __init__(self, llm):
        self.llm = llm


class Entry:
    """An entry of the host's table: a class and its arguments."""

    def __init__(self, func, **keywords):
        self.func, self.keywords = func, keywords


@pytest.mark.parametrize("argument, engine", [("use_vllm", "vLLM"), ("use_lmdeploy", "LMDeploy")])
def test_an_engine_is_switched_off_in_one_line(argument, engine, capsys):
    entry = Entry(TakesEngine, **{argument: True})
    assert without_engine("Big", entry, {"top_k": 1}, needs_states=True) == {"top_k": 1, argument: False}
    (line,) = capsys.readouterr().err.splitlines()
    assert f"Big is set up for {engine}" in line and line.endswith("compare with Big_none")
    assert without_engine("Big", entry, {argument: True}, needs_states=True) == {argument: True}
    assert without_engine("Big", Entry(TakesEngine), {}, needs_states=True) == {}
    assert not capsys.readouterr().err


def test_an_engine_that_can_not_be_switched_off_is_refused_before_it_is_built():
    entry = Entry(KnowsOneWay, use_vllm=True)
    with pytest.raises(ValueError, match="Big runs on vLLM alone \\(KnowsOneWay knows no other way\\)"):
        without_engine("Big", entry, {}, needs_states=True)
    assert without_engine("Big", entry, {}, needs_states=False) == {}


@pytest.mark.parametrize(
    "preset, given, of_host, expected",
    [
        ({}, {}, None, False),
        ({}, {}, True, True),
        ({"use_vllm": True}, {}, None, True),
        ({"use_vllm": True}, {}, False, False),
        ({"use_vllm": True}, {"use_vllm": False}, True, False),
        ({}, {"use_vllm": True}, False, True),
    ],
)
def test_vllm_is_taken_where_the_user_or_the_host_asks_for_it(preset, given, of_host, expected, monkeypatch):
    entry = Entry(TakesEngine, **preset)
    monkeypatch.setattr(engines, "find_spec", lambda name: name)
    assert wants_vllm("Big", entry, given, of_host) == expected
    if expected:
        assert class_arguments("Big", entry, given, True, True) == (given or ({} if preset else {"use_vllm": True}))


def test_an_entrys_vllm_that_is_not_installed_is_switched_off(monkeypatch, capsys):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    entry = Entry(TakesEngine, use_vllm=True)
    assert not wants_vllm("Big", entry, {}, None)
    assert class_arguments("Big", entry, {}, False, True) == {"use_vllm": False}
    assert "Big is set up for vLLM" in capsys.readouterr().err
    assert wants_vllm("Big", entry, {}, True)  # where a user has said it, its absence is an error
    assert wants_vllm("Big", Entry(KnowsOneWay, use_vllm=True), {}, None)  # which has no other way


def test_vllm_that_a_class_knows_nothing_of_is_refused():
    with pytest.raises(ValueError, match="Big can't run on vLLM in VLMEvalKit \\(KnowsOneWay knows no use_vllm\\)"):
        wants_vllm("Big", Entry(KnowsOneWay), {}, True)


@pytest.mark.parametrize("preset", [{}, {"use_vllm": True}])
@pytest.mark.parametrize("of_host", [None, True, False])
def test_a_class_that_knows_vllm_alone_is_guarded_there(preset, of_host, monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)  # the class itself says what is missing
    entry = Entry(VLLMAlone, **preset)
    assert wants_vllm("Big", entry, {}, of_host)
    assert class_arguments("Big", entry, {"top_k": 1}, True, True) == {"top_k": 1}
    with pytest.raises(ValueError, match="Big runs on vLLM alone \\(VLLMAlone knows no other way\\); leave use_vllm"):
        wants_vllm("Big", entry, {"use_vllm": False}, of_host)


def test_options_of_the_engine_are_no_settings_of_a_guard():
    given = {"alpha": 0.5, "max_model_len": "4096", "dtype": "float32", "enforce_eager": False}
    own = {"max_model_len": 4096, "dtype": "float32", "enforce_eager": False}
    assert engine_options(given, on_vllm=True) == (own, {"alpha": 0.5})
    for wrong, on_vllm, said in (
        ({"max_model_len": 0}, True, "max_model_len is 0"),
        ({"dtype": "int8"}, True, "dtype is 'int8'"),
        ({"dtype": "float32"}, False, "dtype: belongs to vLLM"),
    ):
        with pytest.raises(ValueError, match=said):
            engine_options(wrong, on_vllm)


def test_the_engine_is_told_by_the_object():
    assert engine_of(TakesEngine(use_vllm=True)) == "vllm"
    assert engine_of(TakesEngine(use_lmdeploy=True)) == "lmdeploy"
    assert engine_of(TakesEngine()) == "transformers"
    engine = type("LLM", (), {"__module__": "vllm.entrypoints.llm", "generate": None})()
    assert engine_of(VLLMAlone(engine)) == "vllm", "by what it holds, where it says nothing"
    assert engine_of(VLLMAlone(HoldsEngine(engine))) == "vllm"
    api = KnowsOneWay()
    api.is_api = True
    assert engine_of(api) == ""
