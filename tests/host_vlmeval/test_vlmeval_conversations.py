"""Conversations and messages of several images, through VLMEvalKit's own command."""

import json
from pathlib import Path

import pytest
from helpers.conversations import said
from helpers.places import REPOSITORY
from helpers.small_sets import small_rows
from helpers.tiny_models import tiny_llava, tiny_processor
from helpers.vlmeval_command import answered, host_place, host_run
from helpers.vlmeval_form import status_of

import vlmguard_plugin as vg

pytestmark = pytest.mark.host

FAILED_MARK = "Failed to obtain answer"

# Through the host's own command.

ON_A_CHECKPOINT = [
    "cmrm",
    "cmrm_sample",
    "vlmguard",
    "shiftdc",
    "refusal_direction",
    "tbop",
    "nullsteer",
    "inferaligner",
    "jrs_rem",
    "mars",
    "ecso",
    "adashield",
    "self_reminder",
    "goal_priority",
    "vlmguard+ecso",
]

ON_A_HOST_MODEL = ["cmrm_sample", "vlmguard", "shiftdc", "ecso", "self_reminder"]

NO_FILMS = ["llava_cmrm", "Conversing_cmrm", "Mute_cmrm"]

CONFIGS = sorted((REPOSITORY / "task_configs" / "vlmeval").glob("*.json"))


@pytest.fixture(scope="module")
def host(tmp_path_factory):
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
        vg.Query.from_parts([("text", "First"), ("image", first), ("text", f"and then: is {i}?"), ("image", second)])
        for i, (first, second) in enumerate(shown)
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
    if guard and guard not in ("ecso", "shiftdc", "mars"):  # these leave alone what they don't find harmful, or shifted
        assert (talk, given) != (answered(out, "llava", "Talk_tiny"), answered(out, "llava", "Pairs_tiny"))


@pytest.mark.parametrize("guard", [None, *ON_A_HOST_MODEL])
def test_a_model_of_the_hosts_own_converses(host, guard):
    """Its own `chat_inner` builds the prompts, which is told by the answers' first word."""
    from helpers.host_runs import Conversing

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
    refused = (
        "shows a video, and {} takes text and images alone; "
        "put its frames as images, or run it with a model of the host's own"
    )
    for model, named in (
        ("llava_cmrm", "llava-hf/llava-1.5-7b-hf"),
        ("Conversing_cmrm", "the guarded Conversing"),
        ("Mute_cmrm", "the guarded Mute"),
    ):
        assert status_of(place / "films" / model, "Films_tiny")["error_message"].startswith(
            "Films_tiny " + refused.format(model)
        )
        assert status_of(place / "films" / model, "FilmRows_tiny")["error_message"].startswith(
            "FilmRows_tiny " + refused.format(named)
        )
        assert not (place / "films" / model / f"{model}_Films_tiny.json").exists()
    assert "no way of conversing with Mute" in status_of(place / "films" / "Mute_cmrm", "Talk_tiny")["error_message"], (
        done.stderr[-2000:]
    )


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
