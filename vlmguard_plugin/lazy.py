"""Heavy packages that are imported at first use, so that a guard's file can be read without them.

    from vlmguard_plugin.lazy import torch

`vlmguard list` reads every guard's file and computes nothing; with these names it starts in a fraction of a second.
Annotations of such a file take their types under TYPE_CHECKING (`from torch import Tensor`); what runs says
`torch.Tensor`. A base class or a default argument that needs the package loads it with the file.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["numpy", "safetensors", "torch", "transformers"]


class LazyModule(ModuleType):
    """Stands for a module and imports it when an attribute is first asked for.

    with_submodules: names of submodules that are imported along with it, as `safetensors.torch` has to be.
    """

    def __init__(self, name: str, *with_submodules: str) -> None:
        super().__init__(name)
        self.__dict__["_submodules"] = with_submodules

    def __getattr__(self, attribute: str) -> Any:
        for submodule in self.__dict__["_submodules"]:
            import_module(f"{self.__name__}.{submodule}")
        return getattr(import_module(self.__name__), attribute)

    def __dir__(self) -> list[str]:
        return dir(import_module(self.__name__))


if TYPE_CHECKING:
    import numpy as numpy
    import safetensors as safetensors
    import safetensors.torch
    import torch as torch
    import transformers as transformers
else:
    numpy = LazyModule("numpy")
    safetensors = LazyModule("safetensors", "torch")
    torch = LazyModule("torch")
    transformers = LazyModule("transformers")
