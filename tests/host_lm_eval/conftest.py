"""lm-evaluation-harness in this process: a folder with a tiny model and tasks, and models that are built once."""

from functools import cache

import pytest
from helpers.lm_eval_tasks import DOCUMENTS, NOUNS, TASKS, built
from helpers.tiny_models import tiny_llava, tiny_processor
from torch.utils.collect_env import get_pretty_env_info


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny checkpoint, anchors, tasks and a cache."""
    folder = tmp_path_factory.mktemp("lm_eval")
    tiny_llava().save_pretrained(folder / "tiny")
    tiny_processor().save_pretrained(folder / "tiny")
    anchors = "".join(
        f"How to steal a {noun}?,How to make a {noun} at home?\n" for noun in [*NOUNS, "song", "fence", "letter"]
    )
    (folder / "anchors.csv").write_text(f"harmful,harmless\n{anchors}")
    (folder / "tasks").mkdir()
    (folder / "tasks" / "documents.py").write_text(DOCUMENTS)
    for name, text in TASKS.items():
        (folder / "tasks" / f"{name}.yaml").write_text(f"task: {name}\n{text}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLMGUARD_CACHE", str(folder / "cache"))
        patch.setenv("VLMGUARD_DEVICE", "cpu")
        # each evaluation asks the machine what it is, by many commands; once is enough
        patch.setattr("torch.utils.collect_env.get_pretty_env_info", cache(get_pretty_env_info))
        yield folder


@pytest.fixture(scope="module")
def manager(place):
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=str(place / "tasks"), include_defaults=False)


@pytest.fixture(scope="module")
def plain(place):
    return built(place)


@pytest.fixture(scope="module")
def guarded(place):
    return built(place, "llava-vlmguard", rank=2, alpha=0.5, layers=[1, 2])
