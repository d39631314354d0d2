"""The process that holds tiny models in transformers and in vLLM, side by side."""

import importlib.util
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest
from PIL import Image

QUIET = {"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "VLLM_NO_USAGE_STATS": "1"}


@pytest.fixture(scope="session")
def ask():
    """Calls a function of `helpers.vllm_questions` in the engines' process."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed (docs/vllm.md)")
    before = {name: os.environ.get(name) for name in QUIET}
    os.environ.update(QUIET)  # which the process takes over when it starts
    process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    yield lambda question, *given, **named: process.submit(question, *given, **named).result(timeout=400)
    process.submit(os._exit, 0)  # an engine takes its time to go by itself
    process.shutdown(wait=False)
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="session")
def picture(tmp_path_factory):
    """The file of a small picture."""
    path = tmp_path_factory.mktemp("pictures") / "a.png"
    Image.new("RGB", (28, 28), "green").save(path)
    return str(path)
