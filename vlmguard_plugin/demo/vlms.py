"""The demo's small real VLMs by name: which language model, which vision tower, which trained adapter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vlmguard_plugin.demo.weights import QWEN_05B, QWEN_15B, LanguageModel

ADAPTERS = Path(__file__).parent / "adapters"


@dataclass(frozen=True)
class Tower:
    """A CLIP-style vision tower. image_size: pixels a side. patch_size: pixels a side of what one token sees."""

    image_size: int
    patch_size: int
    width: int = 256
    layers: int = 6
    heads: int = 4

    @property
    def image_tokens(self) -> int:
        """Tokens that a picture becomes: the class token, then its patches row by row."""
        return 1 + (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class DemoVLM:
    """One of the demo's VLMs. adapter: name of the trained weights in ADAPTERS, without ".safetensors".

    Adapters named "captions" never met the language model beyond its embedding matrix: they are the controls.
    """

    language: LanguageModel
    tower: Tower
    adapter: str

    @property
    def adapter_file(self) -> Path:
        return ADAPTERS / f"{self.adapter}.safetensors"


TOWER = Tower(image_size=96, patch_size=24)

DEMO_VLMS = {
    "demo_vlm": DemoVLM(QWEN_05B, TOWER, "answers"),
    "demo_vlm_control": DemoVLM(QWEN_05B, TOWER, "captions"),
    "demo_vlm_15b": DemoVLM(QWEN_15B, TOWER, "answers-15b"),
    "demo_vlm_15b_control": DemoVLM(QWEN_15B, TOWER, "captions-15b"),
}


def demo_vlm(name: str) -> DemoVLM:
    """The demo VLM of this name; ValueError for another one."""
    if name not in DEMO_VLMS:
        raise ValueError(f"demo VLM is {name!r}; choose one of {', '.join(DEMO_VLMS)}")
    return DEMO_VLMS[name]
