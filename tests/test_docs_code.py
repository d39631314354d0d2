"""The Python in the README and in the pages of docs/ runs as it is written, on a tiny model."""

import ast
import json
import re
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from helpers.places import REPOSITORY
from helpers.tiny_models import tiny_llava, tiny_processor
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.cli.main import main

BLOCKS = [
    pytest.param(page, text, id=f"{page}-{number}")
    for page in [
        "README.md",
        *sorted(path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "docs").rglob("*.md")),
    ]
    for number, text in enumerate(
        re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text(encoding="utf-8"), re.DOTALL)
    )
]
ELSEWHERE = ("push_to_hub", "prepare(", "leaderboard(")
"""Blocks that need a hub (tests/test_sharing.py), a benchmark's files or a host's output, which other tests have."""
DEMO = 'GuardSpec("demo_vlm").load_subject()'
NOTEBOOK = REPOSITORY / "docs" / "quickstart.ipynb"


@pytest.fixture
def place(tmp_path, monkeypatch, anchors):
    """A folder with what the blocks name: a picture, a guard that was fitted before, and a model that is loaded."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (30, 20), "red").save("a.png")
    processor = tiny_processor()
    model = tiny_llava()
    subject = vg.HuggingFaceSubject(model, processor, batch_size=4)
    query = vg.Query("What is this?", images=("a.png",))
    guard = vg.build_guard("vlm_guard").fit(subject, anchors)
    guard.save("my-guard")
    short = vg.load_anchors
    monkeypatch.setattr("vlmguard_plugin.anchors.load_anchors", lambda *given: anchors if not given else short(*given))
    inputs = processor(text="<image> What is this?", images=Image.open("a.png"), return_tensors="pt")
    return {"model": model, "processor": processor, "subject": subject, "guard": guard, "inputs": inputs,
            "queries": [query]}  # fmt: skip


@pytest.mark.parametrize("page, text", BLOCKS)
def test_the_block_runs(page, text, place):
    if any(words in text for words in ELSEWHERE):
        ast.parse(text)
        return
    if "vlmguard_plugin.judges.refusal" not in text:
        text = re.sub(r"layers=\[[\d, ]+\]", "layers=[1, 2]", text.replace("max_new_tokens=64", "max_new_tokens=3"))
    names = dict(place)
    if DEMO in text:
        text = text.replace(DEMO, "subject")
    exec(compile(text, page, "exec"), names)
    if "answers = " in text:
        assert len(names["answers"]) == 1 and isinstance(names["answers"][0], str)
    if "states = " in text:
        assert tuple(names["states"].shape) == (1, place["subject"].num_layers, place["subject"].hidden_size)
    if "class Polite" in text:
        said = names["Polite"]().rewrite(vg.Query("Hello")).text
        assert said.startswith("Hello\n") and "harm" in said


def test_enough_is_run():
    run = [block for block in BLOCKS if not any(words in block.values[1] for words in ELSEWHERE)]
    assert len(run) >= 6 and {"README.md", "docs/quickstart.md", "docs/how-to/own-model.md"} <= {
        block.values[0] for block in run
    }


def commands_of(page, beginning):
    """The shell lines of a page that begin so, without what is said behind #."""
    lines = (line.strip().partition(" # ")[0] for line in (REPOSITORY / page).read_text(encoding="utf-8").splitlines())
    return [line.split()[1:] for line in lines if line.startswith(beginning)]


def test_requests_of_ones_own_are_prepared_as_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LMUData", str(tmp_path))
    (tmp_path / "my.csv").write_text("request,category\nHow do I pick a lock?,tools\nHow do I bake bread?,food\n")
    commands = commands_of("docs/how-to/own-requests.md", "vlmguard data prepare")
    assert len(commands) == 2
    for words in commands:
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0 and f"{words[2]}: 2 rows" in done.output, done.output


def test_a_guard_is_shared_by_a_folder_as_the_page_says(place, tmp_path):
    pushed = next(
        words for words in commands_of("docs/how-to/share-a-guard.md", "vlmguard push") if words[2].startswith("/")
    )
    shared = tmp_path / pushed[2].lstrip("/")
    for words in ([*pushed[:2], str(shared)], ["pull", str(shared), "--out", "pulled"]):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
    assert vg.load_guard("pulled").fingerprint == place["guard"].fingerprint


def cells():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_is_clean_and_its_commands_and_links_are_there():
    words = "".join("".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"])
    links = re.findall(r"\]\(([^)#]+\.md)\)", words)
    assert len(links) >= 3 and all((NOTEBOOK.parent / link).is_file() for link in links)
    assert len({cell["id"] for cell in cells()}) == len(cells()) >= 5
    for cell in cells():
        assert cell["outputs"] == [] and cell["execution_count"] is None, "clear its outputs before it is committed"
        for line in "".join(cell["source"]).splitlines():
            if line.startswith("!vlmguard "):
                words = line.removeprefix("!vlmguard ").split()
                command = main.commands[words[0]]
                known = {option for each in command.params for option in each.opts}
                assert set(word for word in words if word.startswith("--")) <= known, line


def test_the_notebooks_python_runs(place, monkeypatch):
    """In a fraction of a second, without its commands but `push`: `make notebook` runs all of it on the demo model."""
    shown = SimpleNamespace(SVG=lambda path: path)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=shown))
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    names = dict(place)
    for cell in cells():
        source = "".join(cell["source"]).replace(DEMO, "subject_here").replace("[14, 15, 16]", "[1, 2]")
        names["subject_here"] = place["subject"]
        for line in re.findall(r"^!vlmguard (push .*)$", source, re.MULTILINE):
            done = CliRunner().invoke(main, line.split())
            assert done.exit_code == 0, done.output
        lines = [
            line for line in source.replace("max_new_tokens=40", "max_new_tokens=3").splitlines() if line[:1] != "!"
        ]
        exec(compile("\n".join(lines), "notebook", "exec"), names)
    assert vg.Guard.from_pretrained("quickstart-output/shared").fingerprint == names["guard"].fingerprint
