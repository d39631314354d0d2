"""Fixtures that all tests share; what is no fixture stands in `helpers/`."""

import gc
from functools import partial

import pytest
from helpers.judge_endpoint import Server
from helpers.tiny_judges import saved_judge
from helpers.tiny_models import tiny_llava, tiny_processor
from PIL import Image, ImageFile

import vlmguard_plugin as vg

pytest_plugins = ["helpers.expected_skips"]

STARTS_PROCESSES = {"browser", "curves"}
"""Fixtures that start a host's command or a browser: tests with them are marked `host`, as all in tests/host_*/ are."""


@pytest.hookimpl(tryfirst=True)  # before `-m` picks by markers
def pytest_collection_modifyitems(items):
    """The slow tests first, then those of the hosts, so that no process is left alone with them at the end.

    Those that are both wait for what the slow ones build, so they come after the hosts' own.
    """
    for item in items:
        if STARTS_PROCESSES & set(getattr(item, "fixturenames", ())) or item.path.parent.name.startswith("host_"):
            item.add_marker(pytest.mark.host)
    order = {(True, False): 0, (False, True): 1, (True, True): 2, (False, False): 3}
    items.sort(key=lambda item: order[tuple(item.get_closest_marker(mark) is not None for mark in ("slow", "host"))])


def pytest_collection_finish():
    """What is loaded by now stays: without it each sweep of the garbage collector walks over all hosts and torch."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def whole_images_only(monkeypatch):
    """Pillow's default: lmms-eval, once imported, has Pillow fill up files that are cut short, in its whole process."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)


@pytest.fixture(scope="session")
def processor():
    return tiny_processor()


@pytest.fixture(scope="session")
def subject(processor):
    return vg.HuggingFaceSubject(tiny_llava(), processor, batch_size=4)


@pytest.fixture
def fresh():
    """A subject of the test's own, whose model it may change."""
    return vg.HuggingFaceSubject(tiny_llava(), tiny_processor(), batch_size=4)


@pytest.fixture(scope="session")
def anchors(tmp_path_factory):
    """Eight short pairs, enough for a fit on a tiny model."""
    path = tmp_path_factory.mktemp("anchors") / "anchors.csv"
    nouns = ["cake", "kite", "boat", "lamp", "chair", "song", "fence", "letter"]
    path.write_text("harmful,harmless\n" + "".join(f"How to steal a {n}?,How to make a {n} at home?\n" for n in nouns))
    return vg.load_anchors(path)


@pytest.fixture
def pictures(tmp_path):
    """Paths of three pictures of different sizes and colours."""
    paths = []
    for name, size, colour in (("a", (40, 30), "red"), ("b", (28, 28), "green"), ("c", (60, 90), "blue")):
        image = Image.new("RGB", size, colour)
        image.paste("yellow", (5, 5, 15, 15))
        image.save(tmp_path / f"{name}.png")
        paths.append(str(tmp_path / f"{name}.png"))
    return paths


@pytest.fixture
def red(tmp_path):
    """The path of a small red picture."""
    path = tmp_path / "red.png"
    Image.new("RGB", (8, 8), "red").save(path)
    return path


@pytest.fixture
def judge_folder(tmp_path):
    """Saves a judge of `helpers.tiny_judges` and gives its folder; the arguments are those of `saved_judge`."""
    return partial(saved_judge, tmp_path)


@pytest.fixture
def asked(pictures):
    """A request beside a picture, one without, and a long one beside another picture."""
    return [
        vg.Query("What is this?", images=(pictures[0],)),
        vg.Query("Just a text"),
        vg.Query("And a much longer question about that there", images=(pictures[2],)),
    ]


@pytest.fixture
def no_endpoint_named(monkeypatch):
    """The environment names no endpoint and no key."""
    for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_API_VERSION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def serve():
    """Starts endpoints of judges, which are stopped at the end; see helpers.judge_endpoint.Server for replies."""
    servers = []

    def start(reply, **headers):
        servers.append(Server(reply if callable(reply) else lambda body, number: reply, **headers))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
