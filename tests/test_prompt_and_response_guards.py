"""Guards that act on the prompt or the answer, and several guards at once."""

import numpy as np
import pytest
from helpers.guard_rows import own_guards
from helpers.judging import Judging
from helpers.tiny_models import tiny_llava
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.guards.core.prompt import PromptGuard
from vlmguard_plugin.guards.core.registry import guard_classes
from vlmguard_plugin.guards.ecso import CAPTION, FROM_TEXT, JUDGE

PROMPT_GUARDS = [
    name
    for name in own_guards()
    if issubclass(guard_classes()[name], PromptGuard) and vg.build_guard(name).contrast is None
]


@pytest.mark.parametrize("name", PROMPT_GUARDS)
def test_the_request_stands_whole_in_the_template(subject, pictures, name):
    guard = vg.build_guard(name)
    query = guard.rewrite(vg.Query("What is {this}?", (pictures[0],)))
    assert query.text == guard.template.replace("{query}", "What is {this}?") and query.images == (pictures[0],)
    mixed = guard.rewrite(vg.Query.from_parts([("text", "First"), ("image", pictures[0]), ("text", "last")]))
    assert [kind for kind, _ in mixed.parts()] == ["text", "image", "text"]
    assert "".join(part for kind, part in mixed.parts() if kind == "text") == guard.template.replace(
        "{query}", "Firstlast"
    )
    asked = [vg.Query("What is this?", (pictures[0],)), vg.Query("Just a text")]
    expected = subject.generate([guard.rewrite(query) for query in asked], max_new_tokens=5)
    assert guard.respond(subject, asked, max_new_tokens=5) == expected != subject.generate(asked, max_new_tokens=5)
    with pytest.raises(ValueError, match="acts on the prompt or the answer"), guard.on(subject):
        pass


def test_a_prompt_file_takes_the_place_of_the_wording(tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_text("Be good. {query} Be good!\n")
    assert vg.build_guard("self_reminder", prompt_file=path).rewrite(vg.Query("Hi")).text == "Be good. Hi Be good!"
    path.write_text(path.read_text(), encoding="utf-8-sig")  # as editors on Windows save it
    assert vg.build_guard("coca", prompt_file=path).rewrite(vg.Query("Hi")).text == "Be good. Hi Be good!"
    for text, times in (("no place", "0 times"), ("{query} {query}", "2 times")):
        path.write_text(text)
        with pytest.raises(ValueError, match=times):
            vg.build_guard("self_reminder", prompt_file=path)
    with pytest.raises(FileNotFoundError, match="absent.txt"):
        vg.build_guard("self_reminder", prompt_file="absent.txt")


def test_ecso_answers_again_from_text_where_the_model_calls_its_answer_harmful(subject, pictures):
    asked = [vg.Query("What is this?", (pictures[0],)), vg.Query("Just a text"), vg.Query("And that?", (pictures[1],))]
    judging = Judging(subject, lambda query: "Yes, it is." if "And that?" in query.text else "No.")
    answers = vg.build_guard("ecso", caption_tokens=4).respond(judging, asked, max_new_tokens=5)
    first = subject.generate(asked, max_new_tokens=5)
    (caption,) = subject.generate([asked[2].with_text(CAPTION.format(query="And that?"))], max_new_tokens=4)
    again = vg.Query(FROM_TEXT.format(caption=caption, query="And that?"))
    assert answers == [first[0], first[1], subject.generate([again], max_new_tokens=5)[0]]
    assert [query.text for query in judging.asked[1]] == [
        JUDGE.format(query=asked[i].text, answer=first[i]) for i in (0, 2)
    ]
    assert len(judging.asked[2]) == len(judging.asked[3]) == 1 and not judging.asked[3][0].images


@pytest.mark.parametrize("size", [(40, 30), (7, 90)])
def test_visual_prompt_border(tmp_path, size):
    border = np.zeros((50, 100, 3), dtype=np.uint8)
    border[:, :, 0] = 200
    Image.fromarray(border).save(tmp_path / "border.png")
    guard = vg.build_guard("visual_prompt", image=tmp_path / "border.png", margin=0.1)
    shown = guard.rewrite(vg.Query("Hi", (Image.new("RGB", size, (0, 9, 0)),))).images[0]
    pixels = np.array(shown)
    assert pixels.shape == (50, 100, 3)
    inside = (pixels == (0, 9, 0)).all(axis=-1)
    expected = np.zeros((50, 100), dtype=bool)
    expected[5:45, 10:90] = True
    np.testing.assert_array_equal(inside, expected)
    assert (pixels[~expected] == (200, 0, 0)).all()


def test_visual_prompt_patch(tmp_path, pictures, subject):
    patch = Image.new("RGBA", (10, 10), (0, 0, 255, 255))
    patch.paste((0, 0, 0, 0), (0, 0, 5, 10))  # the left half lets the image through
    patch.save(tmp_path / "patch.png")
    guard = vg.build_guard("visual_prompt", image=str(tmp_path / "patch.png"), mode="patch", place="bottom right")
    pixels = np.array(guard.rewrite(vg.Query("Hi", (Image.new("RGB", (40, 30), "red"),))).images[0])
    blue = (pixels == (0, 0, 255)).all(axis=-1)
    assert blue[20:, 35:].all() and blue.sum() == 50 and (pixels[~blue] == (255, 0, 0)).all()
    sized = vg.build_guard("visual_prompt", image=tmp_path / "patch.png", mode="patch", place="top left", size=0.5)
    assert sized.rewrite(vg.Query("Hi", (Image.new("RGB", (40, 30), "red"),))).images[0].getpixel((19, 19)) == (
        0,
        0,
        255,
    )
    assert guard.rewrite(vg.Query("Just a text")) == vg.Query("Just a text")
    asked = [vg.Query("What is this?", (pictures[0],))]
    assert guard.respond(subject, asked, max_new_tokens=4) == subject.generate(
        [guard.rewrite(asked[0])], max_new_tokens=4
    )
    with pytest.raises(vg.GuardNotFitted, match="not fitted, so there is no 'border'"):
        vg.build_guard("visual_prompt").rewrite(asked[0])
    with pytest.raises(ValueError, match="absent.png"):
        vg.build_guard("visual_prompt", image="absent.png")


def test_composed_guards_act_in_their_order(subject, anchors, pictures):
    """Prompts are rewritten first; edits of one layer follow one another as named."""
    asked = [vg.Query("What is this?", (pictures[0],)), vg.Query("Just a text")]
    settings = {"tbop": {"layers": [1], "alpha": 0.5}, "refusal_direction": {"layers": [1], "alpha": 2.0}}
    parts = {name: vg.build_guard(name, **own).fit(subject, anchors) for name, own in settings.items()}
    reminder = vg.build_guard("self_reminder")
    rewritten = [reminder.rewrite(query) for query in asked]
    answers = {}
    for order in (("tbop", "refusal_direction"), ("refusal_direction", "tbop")):
        guard = vg.build_guard("+".join((*order, "self_reminder")), **settings).fit(subject, anchors)
        steps = [parts[name].edits(subject, None) for name in order]
        expected = subject.generate(rewritten, steps, max_new_tokens=6)
        answers[order] = guard.respond(subject, asked, max_new_tokens=6)
        assert answers[order] == expected
        with vg.build_guard("+".join(order), **settings).fit(subject, anchors).on(subject):
            (both,) = subject.record(rewritten[1:])
        (plain,) = subject.record(rewritten[1:])
        rows, direction = parts["tbop"].tensors["directions"][1], parts["refusal_direction"].tensors["direction"][1]
        project = lambda state: state - 0.5 * state @ rows.T @ rows  # noqa: E731
        by_hand = project(plain[1]) + 2 * direction if order[0] == "tbop" else project(plain[1] + 2 * direction)
        np.testing.assert_allclose(both[1].numpy(), by_hand.numpy(), atol=1e-4)


def test_composed_guards_are_saved_and_loaded(subject, anchors, pictures, tmp_path):
    asked = [vg.Query("What is this?", (pictures[0],)), vg.Query("Just a text")]
    guard = vg.build_guard(
        "vlm_guard+self_reminder+ecso", vlm_guard={"layers": [1], "alpha": 2.0}, ecso={"caption_tokens": 3}
    )
    with pytest.raises(vg.GuardNotFitted):
        guard.respond(subject, asked)
    guard.fit(subject, anchors).save(tmp_path / "guard")
    loaded = vg.load_guard(tmp_path / "guard", subject)
    assert loaded.name == "vlm_guard+self_reminder+ecso"
    assert loaded.respond(subject, asked, max_new_tokens=5) == guard.respond(subject, asked, max_new_tokens=5)
    inner = vg.build_guard("vlm_guard+self_reminder", vlm_guard={"layers": [1], "alpha": 2.0}).fit(subject, anchors)
    assert inner.respond(subject, asked, max_new_tokens=5)[1] == guard.respond(subject, asked, max_new_tokens=5)[1]
    with pytest.raises(vg.WrongModel):
        vg.load_guard(tmp_path / "guard", vg.HuggingFaceSubject(tiny_llava(seed=7), subject.processor))


def test_compositions_that_make_no_sense():
    with pytest.raises(ValueError, match="names a guard twice"):
        vg.build_guard("tbop+tbop")
    with pytest.raises(ValueError, match="takes settings by guard"):
        vg.build_guard("tbop+cmrm", alpha=1.0)
    with pytest.raises(ValueError, match="no guard 'nonesuch'"):
        vg.build_guard("tbop+nonesuch")


def test_a_guards_fingerprint_knows_what_its_files_hold(tmp_path):
    """A cache or a run that goes on must not take the answers of other words, or of another picture, for its own."""
    prompt, picture = tmp_path / "prompt.txt", tmp_path / "border.png"
    prompt.write_text("Be good. {query}")
    Image.new("RGB", (50, 50), "red").save(picture)
    own = {"self_reminder": {"prompt_file": prompt}, "visual_prompt": {"image": picture}}

    def fingerprints():
        parts = [vg.build_guard(name, **settings) for name, settings in own.items()]
        return [guard.fingerprint for guard in (*parts, vg.build_guard("self_reminder+visual_prompt", **own))]

    before = fingerprints()
    assert before == fingerprints()
    prompt.write_text("Be better. {query}")
    words = fingerprints()
    assert [old == new for old, new in zip(before, words)] == [False, True, False]
    Image.new("RGB", (50, 50), "blue").save(picture)
    assert [old == new for old, new in zip(words, fingerprints())] == [True, False, False]


def test_ecso_asks_its_own_questions_not_with_the_answers_first_words(subject, pictures):
    judging = Judging(subject, lambda query: "Yes.")
    asked = vg.Query("What is this?", (pictures[0],), begun="It is")
    vg.build_guard("ecso", caption_tokens=4).respond(judging, [asked], max_new_tokens=5)
    (first,) = subject.generate([asked], max_new_tokens=5)
    answered, (judged,), (captioned,), (again,) = judging.asked
    assert judged.text == JUDGE.format(query=asked.text, answer=f"It is{first}")
    assert [query.begun for query in (judged, captioned, again)] == ["", "", "It is"]


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("refusal_direction", {"theta": 3}, "theta is 3; it must be a finite number of at least -1 and at most 1"),
        ("refusal_direction", {"theta": -2}, "theta is -2"),
        ("visual_prompt", {"margin": 0.5}, "margin is 0.5; it must be a finite number of at least 0 and at most 0.45"),
    ],
)
def test_numbers_have_a_least_and_a_most(name, settings, message):
    with pytest.raises(ValueError, match=message):
        vg.build_guard(name, **settings)
