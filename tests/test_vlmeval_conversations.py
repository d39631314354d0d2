"""Conversations and messages of several images: in the library, and through VLMEvalKit's own command."""

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from conftest import tiny_llava, tiny_processor
from PIL import Image
from reference import expected_edit, layer_states
from test_task_configs import small_rows

import vlmguard_plugin as vg
from vlmguard_plugin.benchmarks import prepare
from vlmguard_plugin.query import BlankImage, image_size

TESTS = Path(__file__).parent
FAILED_MARK = "Failed to obtain answer"

GUARDS = {
    "vlm_guard": {"gate": "midpoint", "project": True, "alpha": 3.0},
    "cmrm": {"alpha": 2.0},
    "cmrm_sample": {"alpha": 2.0},
    "shiftdc": {"caption_tokens": 3, "alpha": 30.0},
    "refusal_direction": {"alpha": 3.0},
    "tbop": {"rank": 2},
    "nullsteer": {"alpha": 3.0},
}
LAYER = 2


def said(role, *parts):
    return vg.Turn(role, tuple(("text" if isinstance(part, str) else "image", part) for part in parts))


@pytest.fixture
def asked(pictures):
    """Conversations with images before, in both, in none, in the request alone; and a request of its own."""
    first, second, third = (Image.open(path) for path in pictures)
    return [
        vg.Query("And what else?", history=(said("user", first, "What is this?"), said("assistant", "A box."))),
        vg.Query(
            "Which is larger?", (second,), history=(said("user", "See", third, "here"), said("assistant", "Yes?"))
        ),
        vg.Query("And then?", history=(said("system", "Be short."), said("user", "Hello"), said("assistant", "Hi!"))),
        vg.Query("Tell me more", (first,), history=(said("user", "Hello"), said("assistant", "Hi!"))),
        vg.Query("Just a text"),
        vg.Query.from_parts(
            [("text", "One"), ("image", first), ("text", "two"), ("image", third)],
            (said("user", second), said("assistant", "A.")),
        ),
    ]


def test_the_prompt_is_the_conversation(subject, asked):
    assert subject.prompt(asked[0]) == "user: <image>\nWhat is this?assistant: A box.user: And what else?assistant:"
    assert subject.prompt(asked[1]) == "user: See<image>\nhereassistant: Yes?user: <image>\nWhich is larger?assistant:"
    assert subject.prompt(asked[2]) == "system: Be short.user: Helloassistant: Hi!user: And then?assistant:"
    assert subject.prompt(asked[5]) == "user: <image>\nassistant: A.user: One<image>\ntwo<image>\nassistant:"
    assert [len(query.all_images) for query in asked] == [1, 2, 0, 1, 0, 3]
    assert [image.size for image in asked[5].all_images] == [(28, 28), (40, 30), (60, 90)]
    pixels = subject.encode([asked[5]])["pixel_values"]
    alone = [subject.encode([vg.Query("x", (image,))])["pixel_values"] for image in asked[5].all_images]
    torch.testing.assert_close(pixels, torch.cat(alone))


def test_nothing_of_a_conversation_is_lost(asked):
    query = asked[1]
    for other in (query.with_text("Other"), query.wrapped("a ", " b"), asked[5].wrapped("a ", " b")):
        assert other.history in (query.history, asked[5].history) and other.images in (query.images, asked[5].images)
    assert asked[5].wrapped("a ", " b").parts()[0] == ("text", "a One")
    assert query.with_text("Other").turns()[-1] == said("user", query.images[0], "Other")
    text = query.without_images()
    assert text.turns() == [said("user", "See", "here"), said("assistant", "Yes?"), said("user", "Which is larger?")]
    assert asked[5].without_images().history == (said("user", ""), said("assistant", "A."))
    blank = query.with_blank_images("white")
    assert blank.all_images == (BlankImage("white", (60, 90)), BlankImage("white", (28, 28)))
    assert [turn.role for turn in blank.turns()] == ["user", "assistant", "user"] and blank.history[0].parts[0] == (
        "text",
        "See",
    )
    added = asked[2].with_blank_images()
    assert (
        added.history == asked[2].history
        and added.images == (BlankImage("white"),)
        and image_size(added.images[0]) is None
    )
    assert asked[0].with_blank_images().images == () and len(asked[0].with_blank_images().all_images) == 1


def test_wrong_turns_are_said():
    with pytest.raises(ValueError, match="role of a turn is 'human'; choose one of user, assistant, system"):
        said("human", "Hello")
    with pytest.raises(ValueError, match="kind 'video'"):
        vg.Turn("user", (("video", "film.mp4"),))
    with pytest.raises(TypeError, match="parts of a turn are a string"):
        vg.Turn("user", "Hello")
    with pytest.raises(TypeError, match="query history holds 'Hello'"):
        vg.Query("x", history=("Hello",))


def test_batches_answer_as_one_at_a_time(subject, asked):
    one = vg.HuggingFaceSubject(subject.model, subject.processor, batch_size=1)
    torch.testing.assert_close(subject.record(asked), one.record(asked), atol=1e-4, rtol=0)
    np.testing.assert_allclose(subject.record(asked)[:, :-1].numpy(), layer_states(subject, asked)[:, :-1], atol=1e-4)
    assert subject.generate(asked, max_new_tokens=6) == one.generate(asked, max_new_tokens=6)
    assert not torch.allclose(subject.record(asked[:1]), subject.record([vg.Query(asked[0].text)]), atol=1e-2)


@pytest.mark.parametrize("name", GUARDS)
def test_guards_edit_the_last_token_of_the_conversation(subject, anchors, asked, name):
    guard = vg.build_guard(name, layers=[LAYER], positions="last", **GUARDS[name]).fit(subject, anchors)
    plain = subject.record(asked)
    for number, query in enumerate(asked):
        with guard.on(subject, [query]):
            (edited,) = subject.record([query])
        shifts = None
        if query.all_images:
            blank, text = subject.record([query.with_blank_images(), query.without_images()])
            shifts = {"blank": (blank - text)[LAYER].numpy()}
            if name == "shiftdc":
                shifts["caption"] = (plain[number] - subject.record(guard.captioned(subject, [query]))[0])[
                    LAYER
                ].numpy()
        last = plain[number, LAYER].numpy()
        np.testing.assert_allclose(
            edited[LAYER].numpy(), expected_edit(guard, LAYER, last[None], last, shifts)[0], atol=2e-4
        )
        if name in ("cmrm", "cmrm_sample"):
            assert np.allclose(edited[LAYER].numpy(), last, atol=2e-4) == (not query.all_images), (
                "an image of an earlier turn counts"
            )
    one = vg.HuggingFaceSubject(subject.model, subject.processor, batch_size=1)
    assert guard.respond(subject, asked, max_new_tokens=4) == guard.respond(one, asked, max_new_tokens=4)


def test_guards_that_rewrite_or_look_at_answers(subject, asked, pictures, tmp_path):
    (before, after) = vg.build_guard("self_reminder").rewrite(asked[1]).text.split(asked[1].text)
    assert before and vg.build_guard("self_reminder").rewrite(asked[1]).history == asked[1].history
    Image.new("RGB", (40, 40), "white").save(tmp_path / "border.png")
    bordered = vg.build_guard("visual_prompt", image=str(tmp_path / "border.png")).rewrite(asked[1])
    assert [image.size for image in bordered.all_images] == [(40, 40)] * 2, "earlier turns were shown with it as well"
    asked_of = []

    class Says:
        def generate(self, queries, edits=None, **generation):
            asked_of.extend(queries)
            return ["Yes." if "harmful, illegal" in query.text else "A box." for query in queries]

    assert vg.build_guard("ecso").respond(Says(), asked[:1]) == ["A box."]
    assert [len(query.all_images) for query in asked_of] == [1, 1, 1, 0]
    assert all(query.history[-1] == asked[0].history[-1] for query in asked_of), (
        "the conversation stays before each question"
    )
    (captioned,) = vg.build_guard("shiftdc", caption_tokens=2).captioned(subject, asked[1:2])
    assert (
        not captioned.all_images
        and captioned.text.endswith("\nWhich is larger?")
        and captioned.history == asked[1].without_images().history
    )


# Through the host's own command.

ON_A_CHECKPOINT = [
    "cmrm",
    "cmrm_sample",
    "vlmguard",
    "shiftdc",
    "refusal_direction",
    "tbop",
    "nullsteer",
    "ecso",
    "adashield",
    "self_reminder",
    "goal_priority",
    "vlmguard+ecso",
]
ON_A_HOST_MODEL = ["cmrm_sample", "vlmguard", "shiftdc", "ecso", "self_reminder"]
NO_FILMS = ["llava_cmrm", "Conversing_cmrm", "Mute_cmrm"]
CONFIGS = sorted((TESTS.parent / "task_configs" / "vlmeval").glob("*.json"))
TALK = ["<ImageHere>What is it?", "And then?", "Now<ImageHere>which?"]


def encoded(colour, size):
    image, file = Image.new("RGB", size, colour), io.BytesIO()
    image.paste("yellow", (5, 5, 15, 15))
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def host_place(folder, rows=5, predictions="json"):
    """A tiny LLaVA, small sets in $LMUData, small anchors, and the environment that points to them.

    predictions: the host's format: json holds every letter, and conversations as such; tsv it can read again.
    """
    tiny_llava().save_pretrained(folder / "llava")
    tiny_processor().save_pretrained(folder / "llava")
    two = str([encoded("red", (30, 30)), encoded("blue", (40, 20))])
    sets = {
        "Talk_tiny": [
            {"index": i, "image": two, "question": str([f"{i}: {TALK[0]}", *TALK[1:]]), "answer": str([""] * 3)}
            for i in range(3)
        ],
        "MMDU": [
            {"index": i, "image": two, "question": str([f"{i}: {TALK[0]}", *TALK[1:]]), "answer": str([""] * 3)}
            for i in range(2)
        ],
        "BLINK": [
            {"index": i, "image": two, "question": "Which?", "A": "red", "B": "blue", "answer": "A", "category": "x"}
            for i in range(2)
        ],
        **{
            name: [{"index": i, "image": two, "question": f"is {i}?"} for i in range(4)]
            for name in ("Pairs_tiny", "Films_tiny", "FilmRows_tiny")
        },
    }
    (folder / "data").mkdir()
    for name, content in sets.items():
        pandas.DataFrame(content).to_csv(folder / "data" / f"{name}.tsv", sep="\t", index=False)
    requests = [f"How to steal a thing of kind {'abcdefgh'[i % 8]}{i}?" for i in range(rows)]
    (folder / "mine.csv").write_text("request,harmful\n" + "".join(f"{text},1\n" for text in requests))
    prepare("Requests_mine_blank", folder / "mine.csv", out_dir=folder / "data", size=28)
    (folder / "anchors.csv").write_text(
        "harmful,harmless\n" + "".join(f"How to break a {n}?,How to fix a {n}?\n" for n in "cup door toy box".split())
    )
    return {
        "LMUData": str(folder / "data"),
        "VLMGUARD_LLAVA": str(folder / "llava"),
        "VLMGUARD_ANCHORS": str(folder / "anchors.csv"),
        "VLMGUARD_CACHE": str(folder / "cache"),
        "VLMGUARD_MAX_NEW_TOKENS": "4",
        "VLMGUARD_BATCH_SIZE": "3",
        "VLMGUARD_DEVICE": "cpu",
        "HF_HUB_OFFLINE": "1",
        "MPLCONFIGDIR": str(folder / "cache"),
        "PRED_FORMAT": predictions,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join((str(TESTS), os.environ.get("PYTHONPATH", ""))),
    }


def host_run(environment, *arguments, processes=1):
    """The host's command, run to its end; after "--then" come the arguments of one more run in the same process."""
    torchrun = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *torchrun, TESTS / "host_runs.py", *arguments]
    return subprocess.run(
        [str(word) for word in command], env={**os.environ, **environment}, capture_output=True, text=True
    )


def answered(work_dir, model, dataset):
    """The answers in the host's file, by its rows' index."""
    file = Path(work_dir) / model / f"{model}_{dataset}.json"
    if not file.is_file():
        rows = pandas.read_csv(file.with_suffix(".tsv"), sep="\t", keep_default_na=False)
        return dict(zip(rows["index"], rows["prediction"]))
    return {row["index"]: row["prediction"] for row in json.loads(file.read_text())}


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    pytest.importorskip("vlmeval", reason="VLMEvalKit (ms-vlmeval) is not installed")
    place = tmp_path_factory.mktemp("host")
    environment = host_place(place)
    models = [
        "llava",
        *(f"llava_{guard}" for guard in ON_A_CHECKPOINT),
        "Conversing",
        *(f"Conversing_{guard}" for guard in ON_A_HOST_MODEL),
    ]
    runs = ["--data", "Talk_tiny", "Pairs_tiny", "--model", *models, "--work-dir", place / "out"]
    runs += [
        "--then",
        "--data",
        "Films_tiny",
        "FilmRows_tiny",
        "Talk_tiny",
        "--model",
        *NO_FILMS,
        "--work-dir",
        place / "films",
    ]
    for path in CONFIGS:
        (place / path.name).write_text(json.dumps(with_tiny_models(path, environment)))
        runs += ["--then", "--config", place / path.name, "--mode", "infer", "--work-dir", place / path.stem]
    done = host_run(environment, *runs)
    return place, environment, place / "out", done


def with_tiny_models(path, environment):
    """A configuration of task_configs with tiny models, and small sets under the names of its own."""
    from vlmguard_plugin.benchmarks import BENCHMARKS, write_tsv

    content = json.loads(path.read_text())
    for model in content["model"].values():
        model["model"] = "Conversing" if model["class"] == "GuardedHost" else environment["VLMGUARD_LLAVA"]
    for name in set(content["data"]) & set(BENCHMARKS):
        write_tsv(
            small_rows(name),
            Path(environment["LMUData"]) / f"{name}.tsv",
            BENCHMARKS[name].kind,
            "the tests",
            "Apache-2.0",
        )
    return content


def conversation(respond, number, images):
    """What the host asks in its three turns, answered one after the other."""
    history, answers = [], []
    for turn, (text, shown) in enumerate(zip((f"{number}: ", "And then?", "Now"), (images[:1], (), images[1:]))):
        after = {0: "What is it?", 2: "which?"}.get(turn)
        parts = [("text", text), *(("image", image) for image in shown), *([("text", after)] if after else [])]
        answers.append(respond(vg.Query.from_parts(parts, history)))
        history += [vg.Turn("user", tuple(parts)), said("assistant", answers[-1])]
    return answers


def pairs_asked(environment):
    """What the host asks of Pairs_tiny."""
    shown = [images_of(environment, "Pairs_tiny", i) for i in range(4)]
    return [
        vg.Query.from_parts([("text", "First"), ("image", one), ("text", f"and then: is {i}?"), ("image", other)])
        for i, (one, other) in enumerate(shown)
    ]


def images_of(environment, dataset, index):
    return [str(Path(environment["LMUData"], "images", dataset, f"{index}_{number}.png")) for number in (0, 1)]


@pytest.mark.parametrize("guard", [None, *ON_A_CHECKPOINT])
def test_a_checkpoint_converses_and_compares_images(host, guard):
    place, environment, out, done = host
    subject = vg.HuggingFaceSubject(tiny_llava(), tiny_processor(), batch_size=3)
    name = guard and guard.replace("vlmguard", "vlm_guard")
    built = name and vg.build_guard(name).fit(subject, vg.load_anchors(environment["VLMGUARD_ANCHORS"]))
    ask = (
        (lambda queries: built.respond(subject, queries, max_new_tokens=4))
        if built
        else (lambda queries: subject.generate(queries, max_new_tokens=4))
    )
    model = f"llava_{guard}" if guard else "llava"
    talk = answered(out, model, "Talk_tiny")
    assert talk == {
        i: conversation(lambda query: ask([query])[0], i, images_of(environment, "Talk_tiny", i)) for i in range(3)
    }, done.stderr[-2000:]
    pairs = pairs_asked(environment)
    given = answered(out, model, "Pairs_tiny")
    assert list(given.values()) == [*ask(pairs[:3]), *ask(pairs[3:])]
    if guard and guard not in ("ecso", "shiftdc"):  # these leave alone what they don't find harmful, or shifted
        assert (talk, given) != (answered(out, "llava", "Talk_tiny"), answered(out, "llava", "Pairs_tiny"))


@pytest.mark.parametrize("guard", [None, *ON_A_HOST_MODEL])
def test_a_model_of_the_hosts_own_converses(host, guard):
    """Its own `chat_inner` builds the prompts, which is told by the answers' first word."""
    from host_runs import Conversing

    place, environment, out, done = host
    vlm = Conversing()
    subject = vg.HostSubject(vlm)
    name = guard and guard.replace("vlmguard", "vlm_guard")
    built = name and vg.build_guard(name).fit(subject, vg.load_anchors(environment["VLMGUARD_ANCHORS"]))
    subject.by_chat = True
    ask = (
        (lambda query: built.respond(subject, [query])[0])
        if built
        else (lambda query: vlm.chat_inner(subject.messages(query)))
    )
    model = f"Conversing_{guard}" if guard else "Conversing"
    talk = answered(out, model, "Talk_tiny")
    assert talk == {i: conversation(ask, i, images_of(environment, "Talk_tiny", i)) for i in range(3)}, done.stderr[
        -2000:
    ]
    subject.by_chat = False
    pairs = [
        built.respond(subject, [query])[0] if built else subject.generate([query])[0]
        for query in pairs_asked(environment)
    ]
    assert list(answered(out, model, "Pairs_tiny").values()) == pairs
    assert all(text.startswith("said: ") for answers in talk.values() for text in answers)
    if guard == "vlmguard":
        assert talk != answered(out, "Conversing", "Talk_tiny")


def test_video_is_refused_and_a_mute_model_said(host):
    """Sets of videos before the model is loaded; a video in a message when it comes."""
    place, _, _, done = host
    status = {
        model: json.loads((place / "films" / model / "status.json").read_text())["datasets"] for model in NO_FILMS
    }
    refused = "shows a video, and {} takes text and images alone; put its frames as images, or run it with a model of the host's own"
    for model, named in (
        ("llava_cmrm", "llava-hf/llava-1.5-7b-hf"),
        ("Conversing_cmrm", "the guarded Conversing"),
        ("Mute_cmrm", "the guarded Mute"),
    ):
        assert status[model]["Films_tiny"]["error_message"].startswith("Films_tiny " + refused.format(model))
        assert status[model]["FilmRows_tiny"]["error_message"].startswith("FilmRows_tiny " + refused.format(named))
        assert not (place / "films" / model / f"{model}_Films_tiny.json").exists()
    assert "no way of conversing with Mute" in status["Mute_cmrm"]["Talk_tiny"]["error_message"], done.stderr[-2000:]


def test_a_conversation_with_a_video_or_a_bad_image_is_marked(host, tmp_path):
    """The host leaves out earlier turns where a model raises; ours must not answer less than it was asked."""
    from vlmguard_plugin.hosts.vlmeval.model import FAILED, GuardedVLM

    place, environment, _, _ = host
    model = GuardedVLM(environment["VLMGUARD_LLAVA"], max_new_tokens=2)
    (tmp_path / "film.mp4").touch()
    (tmp_path / "broken.png").write_text("no picture")
    for kind, file in (("video", "film.mp4"), ("image", "broken.png")):
        first = {"role": "user", "content": [{"type": kind, "value": str(tmp_path / file)}]}
        talk = [first, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "What is it?"}]
        answer = model.chat(talk, dataset="Talk")
        assert answer.startswith(FAILED) and (
            "Talk shows a video" in answer if kind == "video" else "broken.png" in answer
        )


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_runs(host, config):
    """By the host's own `--config`."""
    place, _, _, done = host
    content = json.loads(config.read_text())
    for model in content["model"]:
        for name in content["data"]:
            answers = answered(place / config.stem, model, name)
            assert len(answers) >= 2 and FAILED_MARK not in str(answers), done.stderr[-2000:]
