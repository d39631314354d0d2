"""Images that can't be read cost their own answer, and are named, wherever the damage shows."""

import io
import os

import numpy as np
import pytest
import torch
from helpers.tiny_models import tiny_llava, tiny_processor
from PIL import Image, ImageOps

import vlmguard_plugin as vg
from vlmguard_plugin.benchmarks.picture import encoded
from vlmguard_plugin.hosts.guard_spec import GuardSpec
from vlmguard_plugin.hosts.guarded import GuardedModel, NoAnswer
from vlmguard_plugin.query import ORIENTATION, image_size, open_image, read_image


def cut_short(png):
    return png[: len(png) // 2]


def broken_chunk(png):
    second = png.index(b"IDAT", png.index(b"IDAT") + 4)
    return png[:second] + b"\0\1\2\3" + png[second + 4 :]


def no_image(png):
    return b"not an image"


@pytest.fixture(params=[cut_short, broken_chunk, no_image])
def damaged(request, tmp_path):
    whole = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(whole, "PNG")
    path = tmp_path / "damaged.png"
    path.write_bytes(request.param(whole.getvalue()))
    return path


def test_a_damaged_file_is_named(damaged):
    with pytest.raises(ValueError, match="damaged.png' can't be read .*; give a readable PNG or JPEG"):
        read_image(damaged)


def test_so_is_an_image_that_is_opened_and_not_yet_decoded(damaged):
    try:
        opened = Image.open(damaged)
    except OSError:
        return  # known when it was opened: there is no such image
    with pytest.raises(ValueError, match="image in memory can't be read"):
        read_image(opened)


@pytest.mark.parametrize("kind", ["16 bits", "16 bits, dark", "32 bits"])
def test_pixels_of_16_bits_keep_their_shades(tmp_path, kind):
    """Pillow's own conversion makes everything above 255 white."""
    most = 200 if kind == "16 bits, dark" else 65535
    ramp = np.linspace(0, most, 256).astype(np.uint16).reshape(16, 16)
    image = Image.fromarray(ramp.astype(np.int32), "I") if kind == "32 bits" else Image.fromarray(ramp)
    image.save(tmp_path / "deep.png" if kind != "32 bits" else tmp_path / "deep.tiff")
    for given in (image, next(tmp_path.iterdir())):
        shades = np.asarray(read_image(given))[..., 0].astype(int)
        assert np.abs(shades - ramp / 257).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_read_as_the_camera_was_held(tmp_path, orientation):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(pixels).save(tmp_path / "photo.png", exif=exif)
    size = (60, 40) if orientation < 5 else (40, 60)
    with Image.open(tmp_path / "photo.png") as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
        assert np.array_equal(np.asarray(read_image(opened)), expected) and image_size(opened) == size
    assert np.array_equal(np.asarray(read_image(tmp_path / "photo.png")), expected)
    assert image_size(tmp_path / "photo.png") == size
    with Image.open(io.BytesIO(encoded(tmp_path / "photo.png"))) as kept:
        assert np.array_equal(np.asarray(kept.convert("RGB")), expected) and kept.getexif().get(ORIENTATION, 1) == 1


@pytest.mark.parametrize("picture", [np.zeros((4, 4, 3), np.uint8), torch.zeros(3, 4, 4), b"bytes", None])
def test_what_is_no_image_is_named(picture):
    for make in (lambda: vg.Query("Hi", (picture,)), lambda: vg.Turn("user", (("image", picture),))):
        with pytest.raises(TypeError, match=f"an image of a query is a {type(picture).__name__}; give"):
            make()


def test_pixels_without_a_known_range_are_refused():
    with pytest.raises(ValueError, match="floating-point"):
        read_image(Image.new("F", (4, 4)))
    with pytest.raises(ValueError, match="outside of 16 bits"):
        read_image(Image.new("I", (4, 4), -5))


def test_a_pipe_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for read in (read_image, open_image):
        with pytest.raises(ValueError, match="no ordinary file"):
            read(tmp_path / "pipe.png")


@pytest.mark.parametrize("guard", [None, "self_reminder", "visual_prompt"])
def test_a_damaged_image_costs_its_own_answer_alone(damaged, pictures, tmp_path, guard):
    """Also where the guard reads it, not the model."""
    tiny_llava().save_pretrained(tmp_path / "llava")
    tiny_processor().save_pretrained(tmp_path / "llava")
    Image.new("RGB", (40, 40), "red").save(tmp_path / "border.png")
    settings = {"image": str(tmp_path / "border.png")} if guard == "visual_prompt" else {}
    guarded = GuardedModel(GuardSpec(str(tmp_path / "llava"), guard, settings, device="cpu", max_new_tokens=3))
    asked = [vg.Query("What is this?", (image,)) for image in (pictures[0], str(damaged), pictures[1])]
    before, (failed, _), after = guarded.respond_each(asked)
    assert isinstance(failed, NoAnswer) and "damaged.png" in failed.reason
    assert [before, after] == guarded.respond([asked[0], asked[2]])


REFUSES_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"


@pytest.mark.parametrize("guard", [None, "self_reminder"])
@pytest.mark.parametrize("kind", ["a lone surrogate", "a role that the template refuses", "half an AVIF"])
def test_whatever_is_wrong_with_a_query_costs_its_own_answer_alone(kind, guard, pictures, tmp_path):
    processor = tiny_processor()
    processor.chat_template = REFUSES_SYSTEM + processor.chat_template
    tiny_llava().save_pretrained(tmp_path / "llava")
    processor.save_pretrained(tmp_path / "llava")
    if kind == "a lone surrogate":
        wrong, said = vg.Query("What is \ud800 this?", (pictures[0],)), "TextEncodeInput must be"
    elif kind == "half an AVIF":
        whole = io.BytesIO()
        Image.new("RGB", (64, 64), "red").save(whole, "AVIF")
        (tmp_path / "half.avif").write_bytes(whole.getvalue()[: len(whole.getvalue()) * 2 // 3])
        wrong, said = vg.Query("What is this?", (str(tmp_path / "half.avif"),)), "half.avif"
    else:
        history = (vg.Turn("system", (("text", "Be brief."),)),)
        wrong, said = vg.Query("What is this?", (pictures[0],), history=history), "System role not supported"
    guarded = GuardedModel(GuardSpec(str(tmp_path / "llava"), guard, device="cpu", max_new_tokens=3))
    asked = [vg.Query("What is this?", (pictures[0],)), wrong, vg.Query("And this?", (pictures[1],))]
    before, (failed, _), after = guarded.respond_each(asked)
    assert isinstance(failed, NoAnswer) and said in failed.reason and "\n" not in failed.reason
    assert [before, after] == guarded.respond([asked[0], asked[2]])


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_very_large_image_is_reduced_and_shows_the_same(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr("vlmguard_plugin.query.LARGEST", 250_000)
    monkeypatch.setattr("vlmguard_plugin.query.REDUCED", 62_500)
    rough = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    picture = Image.fromarray(rough).resize((900, 600), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = tmp_path / f"large.{suffix}"
    picture.save(path, exif=exif, **({"quality": 95} if suffix == "jpg" else {}))
    read = read_image(path)
    expected = picture.transpose(Image.Transpose.ROTATE_270).resize(read.size, Image.Resampling.LANCZOS)
    assert read.size == image_size(path) == (204, 306) and read.mode == "RGB"
    assert np.abs(np.asarray(read, dtype=float) - np.asarray(expected, dtype=float)).mean() < 2
    opened = Image.open(path)
    size = opened.size
    assert read_image(opened).size == read.size and opened.size == size, "the caller's image stays as it is"
    stored = Image.open(io.BytesIO(encoded(path)))
    assert stored.size == read.size and stored.getexif().get(ORIENTATION, 1) == 1
    grey = picture.convert("P")
    assert read_image(grey).size == (306, 204)


def test_the_size_of_a_turned_tiff(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.new("RGB", (60, 40)).save(tmp_path / "x.tif", exif=exif)
    assert image_size(tmp_path / "x.tif") == read_image(tmp_path / "x.tif").size == (40, 60)


def test_images_up_to_the_bound_are_read_as_they_are_and_bombs_are_refused(tmp_path, monkeypatch):
    Image.new("RGB", (400, 300)).save(tmp_path / "x.png")
    monkeypatch.setattr("vlmguard_plugin.query.LARGEST", 120_000)
    assert read_image(tmp_path / "x.png").size == (400, 300)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)
    with pytest.raises(ValueError, match="x.png' can't be read .*decompression bomb"):
        read_image(tmp_path / "x.png")
