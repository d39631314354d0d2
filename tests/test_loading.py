"""Checkpoints from folders: none of their code is run, no pickle is loaded, and each refusal is one line."""

import json

import pytest
import torch
from helpers.tiny_models import tiny_llava, tiny_processor
from safetensors.torch import load_file

from vlmguard_plugin.subjects.loading import load_subject

EVIL = "import pathlib\npathlib.Path({!r}).touch()\nclass Own: pass\n"


@pytest.fixture
def checkpoint(tmp_path):
    """A tiny LLaVA in a folder that holds Python code."""
    folder = tmp_path / "checkpoint"
    tiny_llava().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    (folder / "evil.py").write_text(EVIL.format(str(tmp_path / "was run")))
    return folder


def change(file, **values):
    file.write_text(json.dumps({**(json.loads(file.read_text()) if file.is_file() else {}), **values}))


OWN_CODE = {"AutoConfig": "evil.Own", "AutoModelForImageTextToText": "evil.Own", "AutoProcessor": "evil.Own"}


@pytest.mark.parametrize("file", ["config.json", "processor_config.json", "tokenizer_config.json"])
def test_an_architecture_that_transformers_has_is_loaded_by_transformers_code(checkpoint, tmp_path, file):
    change(checkpoint / file, auto_map=OWN_CODE)
    assert load_subject(checkpoint, device="cpu").num_layers
    assert not (tmp_path / "was run").exists()


def test_any_other_is_refused_without_a_question(checkpoint, tmp_path, monkeypatch):
    change(checkpoint / "config.json", auto_map=OWN_CODE, model_type="evil")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    with pytest.raises(ValueError, match="checkpoint brings Python code of its own, which is not run"):
        load_subject(checkpoint, device="cpu")
    assert not (tmp_path / "was run").exists()


def test_pickled_weights_are_refused(checkpoint):
    torch.save(load_file(checkpoint / "model.safetensors"), checkpoint / "pytorch_model.bin")
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(OSError, match="no weights in model.safetensors, and pickles are not loaded"):
        load_subject(checkpoint, device="cpu")
