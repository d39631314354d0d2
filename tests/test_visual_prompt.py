"""The trained border of `visual_prompt`: its loss, its gradients and steps, and on which models it can't be trained."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.architectures import tiny_vlm
from helpers.guard_folders import rewrite
from helpers.reference import davsp_loss
from helpers.steering import hook_counts
from helpers.tiny_models import tiny_llava, tiny_processor
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.cli.main import main
from vlmguard_plugin.guards.core.border_pictures import bordered
from vlmguard_plugin.guards.core.border_training import Aim
from vlmguard_plugin.guards.core.conditions import anchor_queries
from vlmguard_plugin.guards.core.guarded_subject import GuardedSubject
from vlmguard_plugin.subjects.pixels import PixelPlaces, pixel_states

SHORT = {"steps": 3, "step": 40.0}
LAYER = 1
"""That before the middle of the tiny LLaVA's four."""


@pytest.fixture(autouse=True)
def gradients_on():
    """PyTorch's default: VLMEvalKit, once imported, turns gradients off in its whole process."""
    with torch.enable_grad():
        yield


@pytest.fixture(scope="module")
def trained(subject, anchors):
    return vg.build_guard("visual_prompt", **SHORT).fit(subject, anchors)


def beside_blank(anchors, side):
    return next(iter(anchor_queries(anchors, ["blank"]))).queries[side * len(anchors.pairs) :][: len(anchors.pairs)]


def with_border(queries, border, margin=0.1):
    """The queries with their pictures in the middle of a border, levels [height, width, 3], stretched."""
    picture = Image.fromarray(border.astype(np.uint8))
    return [vg.Query(query.text, (bordered(query.images[0], picture, margin),)) for query in queries]


def in_the_border(size, edge):
    inside = np.zeros((size, size, 1), dtype=bool)
    inside[edge : size - edge, edge : size - edge] = True
    return ~inside


@pytest.mark.parametrize("hold", [0.0, 0.7])
def test_the_loss_is_as_defined(hold):
    random = np.random.default_rng(0)
    harmful, harmless, before = (random.normal(size=(5, 8)) for _ in range(3))
    direction = random.normal(size=8)
    aim = Aim(torch.tensor(direction), 0.3, 1.7, 0.5, -0.2, hold)
    loss = aim.loss(*map(torch.tensor, (harmful, harmless, before)))
    expected = davsp_loss(harmful, harmless, before, direction, 0.3, 1.7, 0.5, -0.2, hold)
    np.testing.assert_allclose(float(loss), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "architecture, canvas",
    [
        ("llava", 28),
        pytest.param("qwen2_5_vl", 84, marks=pytest.mark.slow),
        ("qwen3_vl", 84),
        pytest.param("mllama", 28, marks=pytest.mark.slow),
        pytest.param("gemma3", 28, marks=pytest.mark.slow),
    ],
)
def test_states_with_gradients_are_those_of_an_answer(architecture, canvas):
    """A batch of prompts of different lengths, their gradients by differences of the pixels."""
    subject = vg.HuggingFaceSubject(*tiny_vlm(architecture, dtype=torch.float64))
    levels = torch.from_numpy(np.random.default_rng(0).integers(9, 245, (2, canvas, canvas, 3))).double()
    texts = ("What?", "And a longer question?")
    asked = [vg.Query(text, (Image.fromarray(row.numpy().astype(np.uint8)),)) for text, row in zip(texts, levels)]
    places = PixelPlaces(subject, (canvas, canvas))
    canvases = levels.clone().requires_grad_()
    states = pixel_states(places, asked, canvases, LAYER)
    torch.testing.assert_close(states.detach(), subject.record(asked)[:, LAYER], atol=2e-5, rtol=2e-5)
    weights = torch.linspace(-1, 1, states.numel()).reshape(states.shape)
    (gradient,) = torch.autograd.grad((states * weights).sum(), canvases)
    away = gradient.sign() * torch.from_numpy(np.random.default_rng(1).random(levels.shape))
    sides = [(pixel_states(places, asked, canvases + sign * away, LAYER) * weights).sum() for sign in (0.1, -0.1)]
    np.testing.assert_allclose(0.2 * float((gradient * away).sum()), float((sides[0] - sides[1]).detach()), rtol=0.01)
    assert float((gradient * away).sum()) > 1e-2


def test_a_step_goes_against_the_sign_of_the_gradient(subject, anchors):
    """By the model's own forward pass on pixel values, one query at a time, and CLIP's normalisation by hand."""
    step, hold, images = 5.0, 0.3, subject.processor.image_processor
    guard = vg.build_guard("visual_prompt", steps=1, step=step, batch=8, hold=hold, conditions=["blank"])
    guard.fit(subject, anchors)
    sides = [beside_blank(anchors, side) for side in (0, 1)]
    before = [subject.record(side)[:, LAYER].double() for side in sides]
    direction = before[0].mean(dim=0) - before[1].mean(dim=0)
    np.testing.assert_allclose(guard.tensors["direction"].numpy(), direction.numpy(), atol=2e-5)
    length = direction.norm()
    origin = (before[1] @ direction / length).mean()
    start = np.tile(np.round(255 * np.array(images.image_mean)), (28, 28, 1))
    gradient = np.zeros((28, 28, 3))
    for number, side in enumerate(sides):
        for row, query in enumerate(with_border(side, start)):
            inputs = subject.encode([query])
            inputs["pixel_values"].requires_grad_()
            state = subject.model(**inputs, output_hidden_states=True).hidden_states[LAYER + 1][0, -1].double()
            place = (state @ direction / length - origin) / length
            loss = (2 - place).clamp(min=0) if number == 0 else place.clamp(min=0)
            if number == 1:
                loss = loss + hold * (state - before[1][row]).square().sum() / length**2
            (by_pixels,) = torch.autograd.grad(loss / 8, inputs["pixel_values"])
            gradient += by_pixels[0].permute(1, 2, 0).numpy() / 255 / np.array(images.image_std)
    expected = np.clip(start - step * np.sign(gradient), 0, 255) * in_the_border(28, 3)
    certain = np.abs(gradient) > 1e-3 * np.abs(gradient).max()
    found = guard.tensors["border"].numpy()
    assert certain.mean() > 0.9
    np.testing.assert_array_equal(found[certain], expected[certain])


def test_what_is_told_of_the_training(subject, anchors, trained):
    """The loss before and after, by the states of the model as it answers."""
    border = trained.tensors["border"].numpy()
    assert border.shape == (28, 28, 3) and not border[3:25, 3:25].any() and border.any(axis=-1)[0].all()
    assert ((border == border.round()) & (border >= 0) & (border <= 255)).all()
    facts, direction = trained.facts, trained.tensors["direction"].numpy()
    names = trained.settings.conditions
    under = [under.queries for under in anchor_queries(anchors, names)]
    pairs = sorted(range(8), key=lambda pair: pair % len(names))
    sides = [[under[pair % len(names)][pair + 8 * side] for pair in pairs] for side in (0, 1)]
    before = [subject.record(side)[:, LAYER].numpy() for side in sides]
    length = np.sqrt(direction @ direction)
    np.testing.assert_allclose(direction, before[0].mean(axis=0) - before[1].mean(axis=0), atol=2e-5)
    origin = (before[1] @ direction / length).mean()
    mean = np.tile(np.round(255 * np.array(subject.processor.image_processor.image_mean)), (28, 28, 1))
    for when, shown in (("before", mean), ("after", border)):
        states = [subject.record(with_border(side, shown))[:, LAYER].numpy() for side in sides]
        expected = davsp_loss(*states, before[1], direction, origin, length, 2.0, 0.0, 0.1)
        np.testing.assert_allclose(facts[f"loss_{when}"], expected, rtol=1e-4)
        places = [((side @ direction / length - origin) / length).mean() for side in states]
        np.testing.assert_allclose(facts[f"places_{when}"], places, atol=1e-4)
    assert facts["loss_after"] < 0.8 * facts["loss_before"] and facts["layer"] == LAYER
    assert facts["places_after"][0] > facts["places_before"][0], "harmful states are pushed along the direction"


def test_it_is_shown_around_every_picture(subject, trained, pictures):
    query = vg.Query("What is this?", (pictures[0], Image.new("RGB", (7, 90), "blue")))
    shown = trained.rewrite(query).images
    assert [image.size for image in shown] == [(28, 28)] * 2
    border, seen = trained.tensors["border"].numpy(), np.array(shown[1])
    np.testing.assert_array_equal(seen * in_the_border(28, 3), border)
    assert (seen[3:25, 3:25] == (0, 0, 255)).all()
    assert trained.rewrite(vg.Query("Just a text")) == vg.Query("Just a text")


def test_the_weights_are_untouched_and_the_same_seed_gives_the_same_border(fresh, anchors, trained):
    before = {name: tensor.clone() for name, tensor in fresh.model.state_dict().items()}
    asking = [name for name, parameter in fresh.model.named_parameters() if "layers.0" not in name]
    for name, parameter in fresh.model.named_parameters():
        parameter.requires_grad_(name in asking)
    hooks = hook_counts(fresh)
    again = vg.build_guard("visual_prompt", **SHORT).fit(fresh, anchors)
    assert again.fingerprint == trained.fingerprint and again.facts == trained.facts
    other = vg.build_guard("visual_prompt", **SHORT, seed=1).fit(fresh, anchors)
    assert not torch.equal(other.tensors["border"], again.tensors["border"])
    assert [name for name, parameter in fresh.model.named_parameters() if parameter.requires_grad] == asking
    assert all(parameter.grad is None for parameter in fresh.model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in fresh.model.state_dict().items())
    assert hook_counts(fresh) == hooks and torch.is_grad_enabled()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_is_trained_where_gradients_are_off(subject, anchors, trained, mode):
    with mode():
        again = vg.build_guard("visual_prompt", **SHORT).fit(subject, anchors)
        assert not torch.is_grad_enabled()
    assert again.fingerprint == trained.fingerprint


def test_another_model_and_a_guard_that_is_not_trained(subject, trained, asked, tmp_path):
    trained.save(tmp_path / "guard")
    for other, what in ((tiny_llava(seed=7), "model fingerprint"), (tiny_llava(width=48), "hidden size")):
        with pytest.raises(vg.WrongModel, match=what):
            vg.load_guard(tmp_path / "guard", vg.HuggingFaceSubject(other, tiny_processor()))
    with pytest.raises(vg.GuardNotFitted):
        vg.build_guard("visual_prompt").respond(subject, asked)
    for number, reason in ((0.5, "border is no picture"), (-1.0, "border is no picture"), (256.0, "whole numbers")):
        tensors = {name: tensor.clone() for name, tensor in trained.tensors.items()}
        tensors["border"][0, 0, 0] = number
        rewrite(tmp_path / "guard", tensors)
        with pytest.raises(vg.DamagedGuard, match=reason):
            vg.load_guard(tmp_path / "guard")


def test_a_border_can_go_to_other_models_as_a_picture(subject, trained, pictures, tmp_path):
    trained.prompt.save(tmp_path / "border.png")
    given = vg.build_guard("visual_prompt", image=tmp_path / "border.png")
    asked = [vg.Query("What is this?", (pictures[0],))]
    other = vg.HuggingFaceSubject(tiny_llava(seed=7), tiny_processor())
    shown = [np.array(guard.rewrite(asked[0]).images[0]) for guard in (trained, given)]
    np.testing.assert_array_equal(*shown)
    assert given.respond(subject, asked, max_new_tokens=4) == trained.respond(subject, asked, max_new_tokens=4)
    assert given.respond(other, asked, max_new_tokens=4)


def test_on_a_white_square_and_in_the_words_of_a_shield(subject, anchors, pictures):
    guard = vg.build_guard("visual_prompt", **SHORT, square=True, shielded=True).fit(subject, anchors)
    plain = vg.build_guard("visual_prompt", **SHORT, square=True).fit(subject, anchors)
    assert not torch.equal(guard.tensors["direction"], plain.tensors["direction"]), "it is trained with the words"
    shown = guard.rewrite(vg.Query("What is this?", (Image.new("RGB", (20, 80), "blue"),)))
    assert shown.text == vg.build_guard("adashield").rewrite(vg.Query("What is this?")).text
    seen = np.array(shown.images[0])[3:25, 3:25]
    assert (seen[:, 0] == 255).all() and (seen[:, 11] == (0, 0, 255)).all() and (seen[:, -1] == 255).all()
    assert guard.rewrite(vg.Query("Just a text")) == vg.Query("Just a text")


@pytest.mark.parametrize(
    "size, margin, message",
    [
        ((336, 336), 0, "leaves no border in a picture of 336 x 336 pixels; give a larger one"),
        ((4, 4), 0.1, "leaves no border"),
        ((8, 8), 0.45, "leaves no place for the image in a picture of 8 x 8 pixels"),
        ((400, 2), 0.45, "leaves no place"),
    ],
)
def test_a_given_border_of_which_nothing_is_seen_or_nothing_else(tmp_path, size, margin, message):
    path = tmp_path / "prompt.png"
    Image.new("RGB", size, "red").save(path)
    with pytest.raises(ValueError, match=f"margin is {margin}, which {message}"):
        vg.build_guard("visual_prompt", image=str(path), margin=margin)
    vg.build_guard("visual_prompt", image=str(path), margin=margin, mode="patch")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"mode": "patch"}, "mode is 'patch', and only a border is trained"),
        ({"margin": 0.0}, "margin is 0.0, which leaves no border"),
        ({"layer": 4}, "layer is 4, beyond the model's 4 decoder layers"),
        ({"canvas": 40}, r"LlavaProcessor resizes a picture of 40 x 40 pixels .* \(canvas=PIXELS\)"),
        ({"step": 0.0}, "after training and was .* before; give more steps"),
    ],
)
def test_what_can_not_be_trained(subject, anchors, settings, message):
    guard = vg.build_guard("visual_prompt", **{"steps": 1, **settings})
    with pytest.raises(ValueError, match=message):
        guard.fit(subject, anchors)
    assert not guard.is_fitted


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"conditions": "text,blank"}, "conditions holds 'text'"),
        ({"steps": 0}, "steps is 0"),
        ({"step": 256.0}, "step is 256.0"),
        ({"canvas": 7}, "canvas is 7"),
        ({"hold": -1.0}, "hold is -1.0"),
        ({"scale": "own"}, "scale is 'own'; choose one of gap, absolute"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        vg.build_guard("visual_prompt", **settings)


def test_on_which_subjects_there_are_no_gradients(subject, fresh, anchors):
    class Vlm:
        """A host's object."""

        def __init__(self):
            self.model = subject.model

        def generate(self, message, dataset=None):
            return ""

    guard = vg.build_guard("visual_prompt", steps=1)
    for other in (vg.HostSubject(Vlm()), GuardedSubject(subject, ())):
        with pytest.raises(ValueError, match=f"a border can't be trained on a {type(other).__name__}, .*image=FILE"):
            guard.fit(other, anchors)
    tiled = vg.HuggingFaceSubject(*tiny_vlm("idefics3"))
    with pytest.raises(ValueError, match="Idefics3Processor resizes a picture of .* or cuts it into tiles"):
        guard.fit(tiled, anchors)
    tower = fresh.model.model.vision_tower
    tower.forward = torch.no_grad()(tower.forward)
    with pytest.raises(ValueError, match="LlavaForConditionalGeneration runs its picture's part without gradients"):
        guard.fit(fresh, anchors)


def test_a_processor_that_resizes_to_another_size_than_its_crop(fresh, anchors):
    """As the demo VLM's, which crops nothing and still has a size for it."""
    images = fresh.processor.image_processor
    images.do_center_crop, images.size = False, {"height": 28, "width": 28}
    images.crop_size = {"height": 224, "width": 224}
    guard = vg.build_guard("visual_prompt", **SHORT).fit(fresh, anchors)
    assert guard.tensors["border"].shape == (28, 28, 3)
    with pytest.raises(ValueError, match="resizes a picture of 224 x 224"):
        vg.build_guard("visual_prompt", canvas=224).fit(fresh, anchors)


def test_the_command_trains_a_border(fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("LMUData", str(tmp_path))
    monkeypatch.setenv("VLMGUARD_DEVICE", "cpu")
    fresh.model.save_pretrained(tmp_path / "model")
    fresh.processor.save_pretrained(tmp_path / "model")
    (tmp_path / "anchors.csv").write_text("harmful,harmless\nSteal it?,Buy it?\nBreak it?,Mend it?\n")
    settings = [part for name, value in SHORT.items() for part in ("--set", f"{name}={value}")]
    given = ["--model", tmp_path / "model", "--anchors", tmp_path / "anchors.csv", "--out", tmp_path / "guard"]
    run = lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])  # noqa: E731
    done = run("fit", "visual_prompt", *given, *settings, "--conditions", "blank,shape")
    assert done.exit_code == 0, done.output
    assert "fit visual_prompt: border" in done.output and "loss=" in done.output
    kept = json.loads((tmp_path / "guard" / "guard.json").read_text())
    assert kept["tensors"] == {"border": [28, 28, 3], "direction": [32]}
    assert kept["loss_after"] < kept["loss_before"] and kept["settings"]["conditions"] == ["blank", "shape"]
    shown = run("inspect", tmp_path / "guard")
    assert shown.exit_code == 0 and "visual_prompt" in shown.output
