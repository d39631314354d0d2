"""Build one of the demo's small real VLMs: a language model from a GGUF file and a vision adapter trained for it.

The result is an ordinary `save_pretrained` folder of a LlavaForConditionalGeneration, which
`AutoModelForImageTextToText` and `AutoProcessor` load like any published checkpoint.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import (
    AddedToken,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerBase,
)

from vlmguard_plugin.demo.vlms import Tower, demo_vlm
from vlmguard_plugin.demo.weights import LanguageModel, fetch_language_model
from vlmguard_plugin.files import cache_directory

RECIPE = "1"  # raise when this file builds something else from the same weights

IMAGE_TOKEN = "<|image_pad|>"  # reserved in the language model's vocabulary, never trained there
SYSTEM_PROMPT = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."  # the model's own default

# The language model's own template, for messages whose content is a string or a list of parts:
# images stand first, whatever their place in the list, then the text.
CHAT_TEMPLATE = (
    "{%- if messages[0]['role'] != 'system' -%}"
    "{{- '<|im_start|>system\\n" + SYSTEM_PROMPT + "<|im_end|>\\n' -}}"
    "{%- endif -%}"
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['content'] is string -%}"
    "{{- message['content'] -}}"
    "{%- else -%}"
    "{%- for part in message['content'] if part['type'] == 'image' -%}{{- '" + IMAGE_TOKEN + "\\n' -}}{%- endfor -%}"
    "{%- for part in message['content'] if part['type'] == 'text' -%}{{- part['text'] -}}{%- endfor -%}"
    "{%- endif -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def build_demo_vlm(name: str = "demo_vlm", cache_dir: str | Path | None = None) -> Path:
    """Folder of a demo VLM, built the first time (a minute and 1 GB of disk; for the 1.5B ones two minutes and 3 GB).

    name: one of `vlms.DEMO_VLMS`. cache_dir: where to build; by default $VLMGUARD_CACHE or the user's cache directory.
    """
    vlm, folder = demo_vlm(name), demo_folder(name, cache_dir)
    if folder.is_dir():
        return folder
    cache = folder.parent
    with FileLock(cache / f"{folder.name}.lock"):
        if not folder.is_dir():
            gguf = fetch_language_model(vlm.language, cache_dir)
            print(f"vlmguard: building {name} in {folder}", file=sys.stderr)
            with tempfile.TemporaryDirectory(dir=cache, prefix="demo-vlm-") as scratch:
                built = Path(scratch) / "model"
                assemble(gguf, vlm.language, vlm.tower, vlm.adapter_file, built)
                check_reload(built, vlm.adapter_file)
                built.rename(folder)
    return folder


def demo_folder(name: str = "demo_vlm", cache_dir: str | Path | None = None) -> Path:
    """Where a demo VLM's folder is, or will be.

    Its name carries a hash of the adapter and the language model, so a new adapter is a new folder, and the major
    version of transformers, because versions 4 and 5 name the vision tower's weights differently.
    """
    vlm = demo_vlm(name)
    digest = hashlib.sha256(vlm.adapter_file.read_bytes() + vlm.language.sha256.encode() + RECIPE.encode()).hexdigest()
    major = transformers.__version__.split(".")[0]
    return cache_directory(cache_dir) / f"demo-vlm-{vlm.adapter}-transformers{major}-{digest[:12]}"


def assemble(gguf: Path, language: LanguageModel, tower: Tower, adapter: Path, folder: Path) -> None:
    """Write the VLM of a language model and an adapter to folder, in bfloat16."""
    model, tokenizer = load_parts(gguf, language, tower)
    load_adapter(model, adapter)
    model.save_pretrained(folder)
    build_processor(tokenizer, tower).save_pretrained(folder)


def load_parts(
    gguf: Path, published: LanguageModel, tower: Tower
) -> tuple[LlavaForConditionalGeneration, PreTrainedTokenizerBase]:
    """The VLM around the language model of a GGUF file, with an untrained adapter, in bfloat16; and its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    language = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, **dequantise_option()
    )
    language.config.__dict__.pop("quantization_config", None)
    # The file holds the tied embedding twice, quantised differently; the output's copy is the finer one.
    embedding = language.lm_head.weight.detach().clone()

    config = LlavaConfig(
        vision_config=vision_config(tower),
        text_config=language.config,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=tower.image_tokens,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
    config.text_config.tie_word_embeddings = True
    config.text_config._name_or_path = published.name  # instead of a folder of this machine
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config).to(torch.bfloat16)
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.get_input_embeddings().weight.data.copy_(embedding)
    model.tie_weights()
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=128,
        eos_token_id=[tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.convert_tokens_to_ids("<|endoftext|>")],
        pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    )
    return model.eval(), tokenizer


def vision_config(tower: Tower) -> CLIPVisionConfig:
    """The configuration of a vision tower."""
    return CLIPVisionConfig(
        image_size=tower.image_size,
        patch_size=tower.patch_size,
        hidden_size=tower.width,
        intermediate_size=4 * tower.width,
        num_hidden_layers=tower.layers,
        num_attention_heads=tower.heads,
        hidden_act="gelu",
    )


def build_processor(tokenizer: PreTrainedTokenizerBase, tower: Tower) -> LlavaProcessor:
    """The processor: pictures squeezed to the tower's size and scaled to [-1, 1], prompts padded on the left."""
    # Some versions read it as ordinary text unless told; its number in the vocabulary stays the same.
    tokenizer.add_tokens([AddedToken(IMAGE_TOKEN, special=True, normalized=False)], special_tokens=True)
    tokenizer.padding_side = "left"
    tokenizer.pad_token = "<|endoftext|>"
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.chat_template = CHAT_TEMPLATE
    image_processor = CLIPImageProcessor(
        size={"height": tower.image_size, "width": tower.image_size},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=tower.patch_size,
        num_additional_image_tokens=1,
        vision_feature_select_strategy="full",
        image_token=IMAGE_TOKEN,
        chat_template=CHAT_TEMPLATE,
    )


def dequantise_option() -> dict[str, Any]:
    """What from_pretrained must be told to unpack a GGUF file into ordinary weights; transformers 4 always does."""
    if int(transformers.__version__.split(".")[0]) < 5:
        return {}
    from transformers import GgufConfig

    return {"quantization_config": GgufConfig(dequantize=True)}


def adapter_modules(model: LlavaForConditionalGeneration) -> dict[str, torch.nn.Module]:
    """The adapter's two modules by their names in an adapter file, the same in transformers 4 and 5."""
    tower = model.model.vision_tower
    return {
        "vision_tower": getattr(tower, "vision_model", tower),  # transformers 4 wraps the tower once more
        "multi_modal_projector": model.model.multi_modal_projector,
    }


def adapter_state(model: LlavaForConditionalGeneration) -> dict[str, torch.Tensor]:
    """The adapter's weights under the names of an adapter file."""
    return {
        f"{name}.{key}": value
        for name, module in adapter_modules(model).items()
        for key, value in module.state_dict().items()
        if not key.endswith("position_ids")
    }


def load_adapter(model: LlavaForConditionalGeneration, adapter: Path) -> None:
    """Copy an adapter file's weights into a model. ValueError as `fitting_adapter`."""
    saved = fitting_adapter(model, adapter)
    with torch.no_grad():
        for name, value in adapter_state(model).items():
            value.copy_(saved[name])


def fitting_adapter(model: LlavaForConditionalGeneration, adapter: Path) -> dict[str, torch.Tensor]:
    """An adapter file's weights; ValueError unless they are finite and named and shaped as a model's are."""
    saved, wanted = read_adapter(adapter), adapter_state(model)
    wrong = sorted(saved.keys() ^ wanted.keys())
    wrong += [name for name in saved.keys() & wanted.keys() if saved[name].shape != wanted[name].shape]
    if wrong:
        raise ValueError(
            f"adapter {adapter} does not fit the demo's vision tower and projector: {len(wrong)} weights differ in "
            f"name or shape, the first is {wrong[0]!r}; train it with `python -m training.train_adapter`"
        )
    broken = sorted(name for name, value in saved.items() if not bool(value.isfinite().all()))
    if broken:
        raise ValueError(
            f"adapter {adapter} has weights that are not finite, the first is {broken[0]!r}; train it anew"
        )
    return saved


def read_adapter(adapter: Path) -> dict[str, torch.Tensor]:
    """The weights of an adapter file by name; ValueError for what is no safetensors file."""
    try:
        return load_file(adapter)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"adapter {adapter} can't be read ({error}); give a safetensors file") from error


def check_reload(folder: Path, adapter: Path) -> None:
    """RuntimeError unless the folder loads with every weight, and its vision tower with the adapter's.

    transformers fills weights it does not find with random numbers and goes on; a VLM like that is blind.
    """
    model, report = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.bfloat16, output_loading_info=True)
    lost = sorted(set(report["missing_keys"]) | set(report["unexpected_keys"]))
    saved, loaded = load_file(adapter), adapter_state(model)
    lost += [name for name in saved if not torch.equal(saved[name].to(torch.bfloat16), loaded[name])]
    if lost:
        raise RuntimeError(
            f"the demo VLM does not load completely with transformers {transformers.__version__}: {len(lost)} weights "
            f"are lost, the first is {lost[0]!r}; use transformers 4.57 or 5"
        )
