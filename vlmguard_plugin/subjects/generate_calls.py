"""Calls of a transformers model's `generate`, several of one prompt each made one of all their prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Hashable, Sequence

import torch
from torch import Tensor, nn
from transformers import GenerationConfig

FOLLOWED = {
    "max_new_tokens", "min_new_tokens", "max_length", "use_cache", "bos_token_id", "eos_token_id", "pad_token_id",
    "repetition_penalty", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "transformers_version",
    "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff",
    "_from_model_config",
}  # fmt: skip
"""Settings of `generate` under which each row is decoded by itself, whatever stands beside it, padding included."""
ONE_ROW = ("num_beams", "num_return_sequences", "num_beam_groups", "length_penalty")
"""Settings that say nothing where they are 1."""
IDS = ("input_ids", "inputs")
FEW_TOKENS = 3


class NotTogether(Exception):
    """Prompts that can't be batched. reason: why. for_good: so of whatever else the same object is asked."""

    def __init__(self, reason: str, for_good: bool = True) -> None:
        super().__init__(reason)
        self.reason, self.for_good = reason, for_good


@dataclass(frozen=True)
class Call:
    """What `generate` of a module is given, for one prompt or several.

    inputs: tensors, in which the prompts stand. settings: all else. decoding: by name, how the answer is decoded,
    what the module's own generation_config says included.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    settings: dict[str, Any]
    decoding: dict[str, Any]

    @property
    def ids(self) -> Tensor | None:
        """The prompts' tokens [rows, tokens]; None where they are given as embeddings alone."""
        return next((self.inputs[name] for name in IDS if name in self.inputs), None)

    @property
    def length(self) -> int:
        """Tokens of a prompt, padding included."""
        return int((self.inputs["inputs_embeds"] if self.ids is None else self.ids).shape[1])

    def is_like(self, other: Call) -> bool:
        """Whether both ask the same."""
        return (
            self.is_decoded_like(other)
            and self.inputs.keys() == other.inputs.keys()
            and all(torch.equal(value, other.inputs[name]) for name, value in self.inputs.items())
        )

    def is_decoded_like(self, other: Call) -> bool:
        """Whether both are answered by the same module under the same settings."""
        return self.module is other.module and self.decoding == other.decoding

    def generate(self, **changes: Any) -> Any:
        """What the module gives. changes: of the settings."""
        module: Any = self.module
        return module.generate(**self.inputs, **{**self.settings, **changes})

    def few_logits(self) -> tuple[Tensor, ...]:
        """Of the first tokens of the answers: float [rows, words] each."""
        few = min(FEW_TOKENS, self.decoding["max_new_tokens"])
        logits: tuple[Tensor, ...] = self.generate(
            max_new_tokens=few, return_dict_in_generate=True, output_logits=True
        ).logits
        return logits

    def answers(self) -> list[Tensor]:
        """The new tokens of each prompt, up to its own end: int64 [tokens]."""
        tokens = self.generate()
        new = tokens if self.ids is None else tokens[:, self.length :]
        ends = self.decoding.get("eos_token_id")
        ends = torch.tensor([] if ends is None else ends, device=new.device).flatten()
        lengths = [
            int(place[0]) + 1 if len(place := is_end.nonzero()) else len(is_end) for is_end in torch.isin(new, ends)
        ]
        return [row[:length] for row, length in zip(new, lengths)]


def call_of(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """A call of a module's `generate` with one prompt; NotTogether for one that can't be batched with others."""
    if len(args) > 1:
        raise NotTogether("it gives its model more than the prompt by place")
    given = {name: value for name, value in {**dict(zip(["inputs"], args)), **kwargs}.items() if value is not None}
    inputs = {name: value for name, value in given.items() if isinstance(value, Tensor)}
    settings = {name: value for name, value in given.items() if name not in inputs}
    call = Call(module, inputs, settings, decoding_of(module, settings))
    prompts = [inputs[name] for name in (*IDS, "inputs_embeds") if name in inputs]
    if len(prompts) != 1 or prompts[0].dim() < 2 or len(prompts[0]) != 1:
        raise NotTogether("it gives its model another form of prompt than one row of tokens")
    if torch.is_autocast_enabled(prompts[0].device.type):
        raise NotTogether("it runs its model under autocast")
    if "attention_mask" not in inputs:
        padding = call.decoding.get("pad_token_id")
        if call.ids is not None and padding is not None and bool((call.ids == padding).any()):
            raise NotTogether("its prompt holds the token for padding, and no attention mask")
        inputs["attention_mask"] = torch.ones(prompts[0].shape[:2], dtype=torch.int64, device=prompts[0].device)
    return call


def decoding_of(module: nn.Module, settings: dict[str, Any]) -> dict[str, Any]:
    """How an answer is decoded, as plain values by name; NotTogether for what looks at more than its own row."""
    defaults = vars(GenerationConfig())
    configs = [getattr(module, "generation_config", None), settings.get("generation_config")]
    decoding: dict[str, Any] = {}
    for config in configs:
        if isinstance(config, GenerationConfig):
            decoding.update({name: value for name, value in config.to_dict().items() if value is not None})
    decoding.update({name: value for name, value in settings.items() if name != "generation_config"})
    for name, value in decoding.items():
        says_nothing = value in (False, [], {}, defaults.get(name)) or (name in ONE_ROW and value == 1)
        if name in defaults and name not in FOLLOWED and not says_nothing:
            raise NotTogether(f"it decodes with {name}")
        if not is_plain(value):
            raise NotTogether(f"it gives its model {name} as {type(value).__name__}")
    if decoding.get("do_sample") and decoding.get("top_k") != 1:
        raise NotTogether("it draws its answers at random")
    if not decoding.get("max_new_tokens"):
        raise NotTogether("it sets no max_new_tokens")
    if getattr(getattr(module, "config", None), "is_encoder_decoder", False):
        raise NotTogether("its model is an encoder and a decoder")
    return decoding


def is_plain(value: Any) -> bool:
    """Whether a value says all that it does by itself, and can be compared."""
    if isinstance(value, dict):
        return all(map(is_plain, value.values()))
    return all(map(is_plain, value)) if isinstance(value, (list, tuple)) else isinstance(value, (bool, int, float, str))


def together(calls: Sequence[Call]) -> Call:
    """One call for all prompts: what has a place for each token is padded on the left, all else put one after another,
    filled up with zeros where pictures differ in size or number.

    A prompt's padding repeats its own last token, so that penalties on words that were said fall as they do without.
    NotTogether where the calls don't go together.
    """
    first, most = calls[0], max(call.length for call in calls)
    if not all(call.is_decoded_like(first) for call in calls):
        raise NotTogether("they are decoded under different settings", for_good=False)
    if any(forms_of(call) != forms_of(first) for call in calls):
        raise NotTogether("some show what others don't", for_good=False)
    inputs = {}
    for name in first.inputs:
        values = [call.inputs[name] for call in calls]
        if all(is_by_token(call, name) for call in calls):
            values = [padded_left(value, most, name in IDS) for value in values]
        sizes = [max(value.shape[dim] for value in values) for dim in range(1, values[0].dim())]
        inputs[name] = torch.cat([filled_up(value, sizes) for value in values])
    return Call(first.module, inputs, first.settings, first.decoding)


def structure_of(calls: Sequence[Call]) -> Hashable:
    """Equal for batches that are put together in the same way: by name, whether and where there is padding."""
    padded = len({call.length for call in calls}) > 1
    names = []
    for name in calls[0].inputs:
        shapes = {call.inputs[name].shape for call in calls}
        by_token = all(is_by_token(call, name) for call in calls)
        differing = tuple(len({shape[dim] for shape in shapes}) > 1 for dim in range(calls[0].inputs[name].dim()))
        names.append((name, by_token, () if by_token else differing))
    return padded, tuple(names), tuple(sorted(forms_of(calls[0])))


def forms_of(call: Call) -> list[tuple[str, int, str]]:
    """By name, dimensions and type of the inputs."""
    return [(name, value.dim(), str(value.dtype)) for name, value in sorted(call.inputs.items())]


def is_by_token(call: Call, name: str) -> bool:
    """Whether an input has a place for each of the prompt's tokens: [1, tokens, ...]."""
    return tuple(call.inputs[name].shape[:2]) == (1, call.length)


def padded_left(value: Tensor, length: int, by_last: bool) -> Tensor:
    """[1, tokens, ...] as [1, length, ...]: zeros before it, or its own last place again."""
    missing = length - value.shape[1]
    last = value[:, -1:].expand(-1, missing, *value.shape[2:])
    return torch.cat([last if by_last else torch.zeros_like(last), value], dim=1)


def filled_up(value: Tensor, sizes: Sequence[int]) -> Tensor:
    """[any, ...] with zeros behind what is there, until each further dimension is so large."""
    whole = value.new_zeros((value.shape[0], *sizes))
    whole[tuple(map(slice, value.shape))] = value
    return whole
