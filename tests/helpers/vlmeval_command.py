"""VLMEvalKit's command on small sets, with models of its own kind beside ours: a place, a run, its answers."""

import base64
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import pandas
from PIL import Image

from helpers.places import TESTS
from helpers.processes import forked_python, python
from helpers.tiny_models import tiny_llava, tiny_processor
from helpers.vlmeval_form import COMMAND_FILE, FOLDER, WORDS, of_last_run
from vlmguard_plugin.benchmarks import prepare

HOST_RUNS = (TESTS / "helpers" / "host_runs.py",)
"""The host's command with what tests need of it beside; the bare one is helpers.vlmeval_form.WORDS."""

TALK = ["<ImageHere>What is it?", "And then?", "Now<ImageHere>which?"]


def encoded(colour, size):
    image, file = Image.new("RGB", size, colour), io.BytesIO()
    image.paste("yellow", (5, 5, 15, 15))
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def tiny_place(folder, checkpoint="llava"):
    """A tiny LLaVA, an empty $LMUData and four pairs of anchors in a folder: the environment that points to them."""
    tiny_llava().save_pretrained(folder / checkpoint)
    tiny_processor().save_pretrained(folder / checkpoint)
    (folder / "data").mkdir()
    (folder / "anchors.csv").write_text(
        "harmful,harmless\n" + "".join(f"How to break a {n}?,How to fix a {n}?\n" for n in "cup door toy box".split())
    )
    return {
        "LMUData": str(folder / "data"),
        "VLMGUARD_LLAVA": str(folder / checkpoint),
        "VLMGUARD_ANCHORS": str(folder / "anchors.csv"),
        "VLMGUARD_CACHE": str(folder / "cache"),
        "VLMGUARD_MAX_NEW_TOKENS": "4",
        "VLMGUARD_BATCH_SIZE": "3",
        "VLMGUARD_DEVICE": "cpu",
        "HF_HUB_OFFLINE": "1",
        "MPLCONFIGDIR": str(folder / "cache"),
    }


def clone_of_host(folder):
    """The host as a git clone holds it, in the folder: its command beside its package, at a commit."""
    shutil.copytree(FOLDER / "vlmeval", folder / "vlmeval", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(COMMAND_FILE, folder / "run.py")
    (folder / "vlmeval" / "run.py").unlink(missing_ok=True)
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "run.py"], ["commit", "-q", "-m", "a"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    return folder


def ten_requests(file):
    """The file, written: five harmful requests and five harmless ones, in turn."""
    nouns = ("bike", "boat", "cart", "lamp", "ring")
    file.write_text("request,harmful\n" + "".join(f"How to steal a {n}?,1\nHow to mend a {n}?,0\n" for n in nouns))
    return file


def host_place(folder, rows=5, predictions="json"):
    """A tiny place with small sets of many kinds in $LMUData, and the environment that points to them.

    predictions: the host's format: json holds every letter, and conversations as such; tsv it can read again.
    """
    environment = tiny_place(folder)
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
    for name, content in sets.items():
        pandas.DataFrame(content).to_csv(folder / "data" / f"{name}.tsv", sep="\t", index=False)
    requests = [f"How to steal a thing of kind {'abcdefgh'[i % 8]}{i}?" for i in range(rows)]
    (folder / "mine.csv").write_text("request,harmful\n" + "".join(f"{text},1\n" for text in requests))
    prepare("Requests_mine_blank", folder / "mine.csv", out_dir=folder / "data", size=28)
    return {
        **environment,
        "PRED_FORMAT": predictions,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join((str(TESTS), os.environ.get("PYTHONPATH", ""))),
    }


def host_run(environment, *arguments, processes=1, script=HOST_RUNS):
    """The host's command, run to its end; by HOST_RUNS, after "--then" come the arguments of one more run."""
    return forked_python(*script, *arguments, environment=environment, check=False, processes=processes)


def host_by_torchrun(environment, *arguments):
    """The host's bare command in two processes of torchrun's."""
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node=2")
    return python(*torchrun, *WORDS, *arguments, environment=environment, check=False)


def answered(work_dir, model, dataset):
    """The answers in the host's file, by its rows' index."""
    folder, name = Path(work_dir) / model, f"{model}_{dataset}"
    file = of_last_run(folder, f"{name}.json")
    if not file.is_file():
        rows = pandas.read_csv(of_last_run(folder, f"{name}.tsv"), sep="\t", keep_default_na=False)
        return dict(zip(rows["index"], rows["prediction"]))
    return {row["index"]: row["prediction"] for row in json.loads(file.read_text())}


def predictions(work_dir, model, dataset):
    return pandas.read_excel(of_last_run(Path(work_dir, model), f"{model}_{dataset}.xlsx"), keep_default_na=False)
