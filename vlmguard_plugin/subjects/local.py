"""What every subject whose torch model runs in this process says of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch

from vlmguard_plugin.environment import TRANSFORMERS
from vlmguard_plugin.steering.decoder import final_norm
from vlmguard_plugin.steering.fingerprint import model_fingerprint

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vlmguard_plugin.steering.decoder import Decoder


class LocalSubject(ABC):
    """A torch model in this process, whose language model's decoder layers can be listened to and edited.

    num_layers (L), hidden_size (d) and fingerprint describe the language model and the weights, as they are now.
    """

    engine = TRANSFORMERS

    @property
    @abstractmethod
    def torch_model(self) -> nn.Module:
        """The model that holds the decoder layers."""

    @property
    @abstractmethod
    def decoder(self) -> Decoder:
        """The language model's decoder layers, found again where modules were replaced."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        model: Any = self.torch_model
        dtype: torch.dtype = model.dtype
        return dtype

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self.torch_model.config

    @property
    def num_layers(self) -> int:
        return len(self.decoder.layers)

    @property
    def hidden_size(self) -> int:
        return self.decoder.hidden_size

    def normalised(self, states: Tensor) -> Tensor:
        """The last decoder layer's states [N, d] behind the model's final norm: float32 [N, d] on the CPU."""
        norm = final_norm(self.torch_model, self.decoder)
        weight = next(norm.parameters(), states)
        with torch.no_grad():
            normed: Tensor = norm(states.to(weight.dtype) if weight.is_meta else states.to(weight))
        return normed.float().cpu()

    @property
    def fingerprint(self) -> str:
        return model_fingerprint(self.torch_model)
