"""What a model of the host is asked is what the data set says, word for word, whatever its class does to questions."""

import ast
import json
from pathlib import Path

import pytest
import vlmeval
from helpers.processes import forked_python as python

from vlmguard_plugin.hosts.vlmeval.datasets import SafetyRequests

pytestmark = pytest.mark.host

ASK_EVERY_CLASS = """
import inspect, json, sys
import vlmeval.api, vlmeval.config, vlmeval.inference, vlmeval.vlm
from vlmeval.dataset import build_dataset

data = sys.argv[1].split(",")
sets, classes = {name: build_dataset(name) for name in data}, {}
for name, builder in vlmeval.config.supported_VLM.items():
    cls = getattr(builder, "func", builder)
    if inspect.isclass(cls):
        classes.setdefault(cls, name)
asked = {}
for cls, name in classes.items():
    for number, (dataset, built) in enumerate(sets.items()):
        model, heard = object.__new__(cls), []
        model.adapter = None
        model.generate = lambda message, dataset=None: heard.append(message) or "answer"
        try:
            if getattr(cls, "is_api", False):
                vlmeval.inference.infer_data_api(model, sys.argv[2], f"{cls.__qualname__}{number}", built, api_nproc=1)
            else:
                out = f"{sys.argv[2]}/{cls.__qualname__}{number}.pkl"
                vlmeval.inference.infer_data(model, None, sys.argv[2], built, out)
        except Exception as error:
            heard = [f"{type(error).__name__}: {error}"]
        asked[f"{cls.__module__}.{cls.__qualname__} {dataset}"] = heard
wanted = {name: [built.build_prompt(line) for _, line in built.data.iterrows()] for name, built in sets.items()}
print(json.dumps({"asked": asked, "wanted": wanted, "classes": len(classes)}, default=str))
"""
SETS = ("Requests_mine_text", "Requests_mine_blank", "MCQ_tiny")


def test_no_class_of_the_host_rewrites_a_request(place, tmp_path):
    _, environment = place
    done = python("-c", ASK_EVERY_CLASS, ",".join(SETS), tmp_path, environment=environment)
    heard = json.loads(done.stdout.splitlines()[-1])
    other = {
        name: messages for name, messages in heard["asked"].items() if messages != heard["wanted"][name.split()[1]]
    }
    assert heard["classes"] > 100 and not other, other


def test_no_class_of_the_host_knows_their_type():
    """Inside `generate` many add words to some types of data sets: they are told one that none of them names."""
    named = set()
    for file in (Path(vlmeval.__file__).parent / part for part in ("vlm", "api")):
        for source in file.rglob("*.py"):
            asked = (node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Compare))
            named |= {
                constant.value
                for node in asked
                if "DATASET_TYPE" in ast.unparse(node)
                for constant in ast.walk(node)
                if isinstance(constant, ast.Constant)
            }
    assert {"VQA", "MCQ", "Y/N"} <= named and SafetyRequests.TYPE not in named
