"""What is measured on the demo VLMs: which requests, beside what, and that every answer is counted once."""

import csv
import json

import pytest
from click.testing import CliRunner
from helpers.tiny_models import tiny_llava, tiny_processor
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.benchmarks import Row, write_tsv
from vlmguard_plugin.benchmarks.typography import draw_text
from vlmguard_plugin.demo.measure import conditions_named, guard_named, main
from vlmguard_plugin.demo.measures.beside import KINDS, Beside
from vlmguard_plugin.demo.measures.reads import reads, texts_and_pictures, words_read
from vlmguard_plugin.demo.measures.refusals import picture_refusals, refusals
from vlmguard_plugin.demo.measures.requests import Request, demo_requests, first_of_each, prepared_requests
from vlmguard_plugin.demo.measures.sees import sees
from vlmguard_plugin.demo.measures.shift import shift
from vlmguard_plugin.pictures.drawn import REQUEST_WORDS_FILE


@pytest.fixture(scope="module")
def subject():
    return vg.HuggingFaceSubject(tiny_llava(), tiny_processor())


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, colour in (("b.jpg", "red"), ("a.PNG", "blue"), ("c.webp", "green")):
        Image.new("RGB", (30, 20), colour).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_what_stands_beside_a_request(photos):
    assert Beside("text").images(3) == ()
    for kind in KINDS[1:]:
        (shown,), caption = Beside(kind).shown(3)
        assert shown.size[0] > 0 and caption
    assert Beside("blank").images(0)[0].tobytes() == Beside("blank").images(5)[0].tobytes()
    assert Beside("shape").images(0)[0].tobytes() != Beside("shape").images(5)[0].tobytes()
    beside = Beside(str(photos))
    assert beside.name == "photos of photos"
    assert [beside.images(number)[0].name for number in range(4)] == ["a.PNG", "b.jpg", "c.webp", "a.PNG"]


def test_any_prepared_set_can_be_asked(tmp_path, monkeypatch):
    rows = [Row(f"r{number}", f"Request {number}?", harmful=number % 3 == 0) for number in range(9)]
    write_tsv(rows, tmp_path / "Mine.tsv", "safety", "me", "none")
    monkeypatch.setenv("LMUData", str(tmp_path))
    asked = prepared_requests("Mine")
    assert asked == prepared_requests(str(tmp_path / "Mine.tsv")) == [Request(row.request, row.harmful) for row in rows]
    chosen = first_of_each(asked, 2)
    assert [request.text for request in chosen] == ["Request 0?", "Request 1?", "Request 2?", "Request 3?"]
    assert first_of_each(asked, None) == asked
    with pytest.raises(ValueError, match="there is no prepared set .*Other.tsv; run `vlmguard data prepare Other"):
        prepared_requests("Other")


def test_the_demos_own_requests():
    requests = demo_requests()
    assert len(requests) == 240 and sum(request.harmful for request in requests) == 120


@pytest.mark.parametrize("guard", [None, "self_reminder"])
def test_every_answer_is_counted_once(subject, photos, guard):
    requests = [Request(f"How to make {number}?", number < 3) for number in range(5)]
    figures = refusals(
        subject, requests, [Beside("text"), Beside(str(photos))], vg.build_guard(guard) if guard else None
    )
    assert list(figures) == [
        f"{what}, {condition}"
        for condition in ("text", "photos of photos")
        for what in ("harmful refused", "harmless refused", "degenerate")
    ]
    assert [figure["n"] + figure["unknown"] for figure in figures.values()] == [3, 2, 5] * 2


def test_how_often_a_gate_fired(subject):
    guard = vg.build_guard("vlm_guard", layers=[1]).fit(subject, vg.load_anchors().split(4)[0])
    requests = [Request(f"How to make {number}?", number < 3) for number in range(5)]
    figures = refusals(subject, requests, [Beside("blank")], guard)
    by_kind = [figures[f"gate fired on {kind}, blank"] for kind in ("harmful", "harmless")]
    states = subject.record([vg.Query(request.text, Beside("blank").images(0)) for request in requests])[:, 1]
    fires = states @ guard.tensors["directions"][1, 0] > 0
    assert [(figure["k"], figure["n"]) for figure in by_kind] == [(int(fires[:3].sum()), 3), (int(fires[3:].sum()), 2)]


def test_guards_are_asked_what_the_model_alone_is(subject):
    guards = {"self_reminder": vg.build_guard("self_reminder"), "none": None, "same": vg.build_guard("none")}
    figures = dict(sees(subject, 1, guards))
    assert list(figures) == ["none", "self_reminder", "same"]
    assert "answers as without the guard" not in figures["none"]
    same = figures["same"].pop("answers as without the guard")
    assert (same["k"], same["n"]) == (12, 12) and figures["same"] == figures["none"]
    assert figures["self_reminder"]["answers as without the guard"]["k"] < 12


def test_a_set_of_one_kind(subject):
    figures = refusals(subject, [Request("How?", False)], [Beside("text")])
    assert list(figures) == ["harmless refused, text", "degenerate, text"]
    with pytest.raises(ValueError, match="only one of them"):
        shift(subject, [Request("How?", False)], [Beside("blank")])


def test_objects_in_the_picture_and_shifts(subject):
    with REQUEST_WORDS_FILE.open(newline="", encoding="utf-8") as opened:
        rows = len(list(csv.DictReader(opened)))
    figures = picture_refusals(subject)
    assert figures["degenerate, object in the picture"]["n"] == rows
    requests = [Request("How to steal it?", True), Request("How to buy it?", False)]
    layers = shift(subject, requests, [Beside("blank"), Beside("noise")])
    assert set(map(len, layers.values())) == {subject.num_layers} and len(layers) == 10


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["refusals", "--beside", "nowhere"], "'nowhere' is neither a folder of photos nor one of text, blank"),
        (["refusals", "--requests", "NoSuchSet"], "there is no prepared set"),
        (["refusals", "--model", "demo_vlm_7b"], "'demo_vlm_7b' is not one of"),
        (["guesses"], "'guesses' is not one of"),
        (
            ["on-task", "--guard", "vlm_guard"],
            "--guard belongs to sees, refusals, picture-refusals; on-task has no use",
        ),
        (["sees", "--items", "3"], "--items belongs to refusals, shift, reads; sees has no use for it"),
        (["reads", "--beside", "blank"], "--beside belongs to on-task, refusals, shift; reads has no use for it"),
        (["sees", "--pairs", "4"], "--pairs is what guards are fitted on; name one with --guard"),
        (["sees", "--anchors", "varied"], "--anchors is what guards are fitted on; name one with --guard"),
        (["shift", "--anchors", "varied"], "--anchors belongs to sees, refusals, picture-refusals"),
        (["sees", "--guard", "cmrm", "--anchors", "neither"], "no anchors file neither; give one of how_to, varied"),
        (["sees", "--guard", "cmrm", "--pairs", "128"], "can't keep 128 of 128 anchor pairs"),
        (["shift", "--per-kind", "120"], "--per-kind belongs to sees; shift has no use for it"),
    ],
)
def test_what_can_not_be_measured(arguments, message, tmp_path, monkeypatch):
    monkeypatch.setenv("LMUData", str(tmp_path))
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code and message in done.output and "Traceback" not in done.output


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["shift", "--beside", "text"], "--beside names text alone, which shift sets pictures against"),
        (["on-task", "--beside", "text"], "--beside names text alone, which on-task sets pictures against"),
        (["refusals", "--requests", ""], "--requests names no set"),
        (["refusals", "--json", "."], "this is a folder"),
        (["refusals", "--json", __file__ + "/x.json"], "Not a directory"),
    ],
)
def test_what_would_be_lost_or_left_out_is_refused_before_a_model_is_loaded(arguments, message):
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code and message in done.output and "Traceback" not in done.output


def test_a_condition_counts_once_and_no_two_have_the_same_name(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder / "photos").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "photos" / "x.png")
    first, second = (str(tmp_path / folder / "photos") for folder in "ab")
    named = conditions_named(("blank", first, "blank", "text", first), "refusals")
    assert [condition.name for condition in named] == ["blank", "photos of photos", "text"]
    assert [condition.name for condition in conditions_named(KINDS, "shift")] == list(KINDS[1:])
    with pytest.raises(ValueError, match="two folders whose figures would both be called 'photos of photos'"):
        conditions_named((first, second), "refusals")


def test_guards_that_act_together_have_the_settings_found_for_the_model():
    both = guard_named('vlm_guard+cmrm:cmrm={"alpha":2}', "demo_vlm")
    assert both.settings["vlm_guard"] == guard_named("vlm_guard", "demo_vlm").settings
    assert both.settings["cmrm"] == guard_named("cmrm:alpha=2", "demo_vlm").settings
    with pytest.raises(ValueError, match="takes settings by guard"):
        guard_named("vlm_guard+cmrm:alpha=1", "demo_vlm")


def test_a_folder_without_pictures(tmp_path):
    with pytest.raises(ValueError, match="holds no .png"):
        Beside(str(tmp_path))
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(ValueError, match="a.png is no picture"):
        Beside(str(tmp_path))


@pytest.mark.slow
def test_the_command_on_the_demo_vlm(tmp_path, photos):
    arguments = ["refusals", "--items", "1", "--beside", str(photos), "--guard", "none", "--guard", "self_reminder"]
    done = CliRunner().invoke(main, [*arguments, "--json", str(tmp_path / "figures.json")])
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert "harmful refused, photos of photos, self_reminder" in figures and len(figures) == 6
    assert all(figure["n"] + figure["unknown"] in (1, 2) for figure in figures.values())


def test_words_are_read_as_often_as_they_stand_there():
    assert words_read("Steps to bake, to eat.", "Steps to BAKE a cake") == [True, True, True, False, False]
    assert words_read("Steps", "") == [False]


def test_pictures_of_text_and_their_words(tmp_path, subject):
    drawn = draw_text("List of cakes", width=96, height=96, font_size=20)
    again = {"harmful": True, "images": (drawn,)}
    rows = [
        Row("a", "Go on.", shown="the text: List of cakes", **again),
        Row("b", "Go on then.", shown="the text: Cakes", **again),
    ]
    write_tsv(rows, tmp_path / "Texts.tsv", "safety", "me", "none")
    (first, picture), (second, same) = texts_and_pictures(str(tmp_path / "Texts.tsv"), None)
    assert (first, second) == ("List of cakes", "Cakes") and picture.tobytes() == same.tobytes()
    assert picture.tobytes() == drawn.convert("RGB").tobytes()
    assert len(texts_and_pictures(str(tmp_path / "Texts.tsv"), 1)) == 1
    figures = reads(subject, [(first, picture), (second, same)])
    assert (figures["words read"]["n"], figures["pictures read whole"]["n"]) == (4, 2)
    write_tsv([Row("a", "Go on.", shown="a cake", **again)], tmp_path / "Cakes.tsv", "safety", "me", "none")
    with pytest.raises(ValueError, match="row .*: no text of one picture is known"):
        texts_and_pictures(str(tmp_path / "Cakes.tsv"), None)
