"""Training a border around every picture by the hidden states that it leads to, as DAVSP does (arXiv 2506.09353)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Iterator, Sequence

from PIL import Image
from tqdm.auto import tqdm

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.border_pictures import levels_of, picture_of
from vlmguard_plugin.guards.core.conditions import anchor_queries
from vlmguard_plugin.guards.core.directions import mean_difference, noise_of
from vlmguard_plugin.guards.core.recording import check_finite
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.pictures.meaningless import input_size
from vlmguard_plugin.query import Query
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor

    from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject
    from vlmguard_plugin.subjects.pixels import PixelPlaces

MOST_CHECKED = 32
"""Pairs that the loss is taken on before and after training, spread over the anchors (our convention)."""


@dataclass(frozen=True)
class Aim:
    """What the border is trained for, in a decoder layer's states at the last prompt token.

    direction: r [d], mean harmful minus mean harmless state, both beside pictures without the border. origin, unit: a
    state's place along it is `x = (h . r / |r| - origin) / unit`. top, bottom, hold: see `loss`.
    """

    direction: Tensor
    origin: float
    unit: float
    top: float
    bottom: float
    hold: float

    def places(self, states: Tensor) -> Tensor:
        """x of states [N, d]: [N]."""
        along = states @ (self.direction / self.direction.norm()).to(states.device)
        places: Tensor = (along - self.origin) / self.unit
        return places

    def loss(self, harmful: Tensor, harmless: Tensor, harmless_before: Tensor) -> Tensor:
        """`mean max(0, top - x)` over harmful states [N, d], `mean max(0, x - bottom)` over harmless ones [M, d], and
        `hold * mean |h - h_before|^2 / |r|^2` over these, where they were without the border.
        """
        lacking, beyond = self.top - self.places(harmful), self.places(harmless) - self.bottom
        moved = (harmless - harmless_before.to(harmless.device)).square().sum(dim=-1).mean()
        length = float(self.direction.square().sum())
        loss: Tensor = lacking.clamp(min=0).mean() + beyond.clamp(min=0).mean() + self.hold * moved / length
        return loss


@dataclass(frozen=True)
class Examples:
    """Pairs of anchors beside pictures, and their states without the border at the trained layer, [N, d] each."""

    harmful: tuple[Query, ...]
    harmless: tuple[Query, ...]
    harmful_before: Tensor
    harmless_before: Tensor

    def some(self, indices: Sequence[int]) -> Examples:
        """Those of the pairs with these numbers."""
        chosen = list(indices)
        return Examples(
            tuple(self.harmful[index] for index in chosen),
            tuple(self.harmless[index] for index in chosen),
            self.harmful_before[chosen],
            self.harmless_before[chosen],
        )


def local_model(subject: Subject) -> HuggingFaceSubject:
    """The subject as one whose pixels can be followed; ValueError, saying what to do, for another."""
    from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject

    if not isinstance(subject, HuggingFaceSubject):
        raise ValueError(
            f"a border can't be trained on a {type(subject).__name__}, which gives no gradients by a picture's pixels; "
            "train it on the checkpoint itself (`vlmguard fit visual_prompt --model CHECKPOINT`), or give image=FILE"
        )
    return subject


def pixel_places(subject: HuggingFaceSubject, side: int | None) -> PixelPlaces:
    """Where the processor puts the pixels of a border picture, `side` pixels wide and high.

    None: the size that the processor says it resizes to, or the one that it gives where that is another.
    NoPixelGradients where it keeps no such picture as it is.
    """
    from vlmguard_plugin.subjects.pixels import NoPixelGradients, PixelPlaces, given_size

    if side is not None:
        return PixelPlaces(subject, (side, side))
    said = input_size(getattr(subject.processor, "image_processor", None))
    try:
        return PixelPlaces(subject, said)
    except NoPixelGradients:
        given = given_size(subject, said)
        if given in (None, said):
            raise
        return PixelPlaces(subject, given)


def examples_of(
    subject: HuggingFaceSubject,
    anchors: Anchors,
    conditions: Sequence[str],
    worded: Callable[[Query], Query],
    layer: int,
    progress: str | None,
) -> tuple[Examples, Tensor]:
    """The anchors, each pair beside a picture of one of the conditions in turn, and the direction r [d].

    worded: how a request is put. ValueError where r is but rounding noise.
    """
    pairs: list[tuple[Query, Query]] = []
    for number, under in enumerate(anchor_queries(anchors, conditions)):
        half = len(under.queries) // 2
        sides = zip(under.pairs[:half], under.queries[:half], under.queries[half:])
        pairs += [(harmful, harmless) for pair, harmful, harmless in sides if pair % len(conditions) == number]
    harmful, harmless = ([worded(pair[side]) for pair in pairs] for side in (0, 1))
    states = check_finite(
        subject.record([*harmful, *harmless], progress=progress and f"{progress}without border"),
        lambda row: f"the {'harmful' if row < len(pairs) else 'harmless'} anchor {row % len(pairs) + 1}",
    )
    noise = noise_of(states)
    direction = mean_difference(states[: len(pairs)], states[len(pairs) :], noise)[layer]
    if not bool(direction.any()):
        raise ValueError(
            f"harmful and harmless anchors beside pictures give the same states after decoder layer {layer}, so there "
            "is no direction to train along; give another layer or other anchors"
        )
    at_layer = states[:, layer]
    return Examples(tuple(harmful), tuple(harmless), at_layer[: len(pairs)], at_layer[len(pairs) :]), direction


def pairs_in_turn(count: int, batch: int, steps: int, seed: int) -> Iterator[list[int]]:
    """The numbers of each step's pairs: all pairs, shuffled, then again in another order."""
    generator = torch.Generator().manual_seed(seed)
    waiting: list[int] = []
    for _ in range(steps):
        while len(waiting) < batch:
            waiting += torch.randperm(count, generator=generator).tolist()
        yield waiting[:batch]
        del waiting[:batch]


@dataclass(frozen=True)
class BorderTraining:
    """A border to be trained on a model.

    places: the model's, for pictures of the border's size. layer: whose states are aimed at. start: the border before.
    framed: a query with a border (a picture) around its picture. mask: bool [height, width, 1], where the border is.
    """

    places: PixelPlaces
    layer: int
    examples: Examples
    aim: Aim
    start: Image.Image
    framed: Callable[[Query, Image.Image], Query]
    mask: Tensor

    def border(self, steps: int, step: float, batch: int, seed: int, progress: str | None) -> Tensor:
        """The trained border's levels, whole numbers 0 to 255: float32 [height, width, 3], 0 where pictures are shown.

        In each step every level goes by `step` against the sign of its gradient, within 0 to 255; what is shown are
        the levels rounded, and gradients pass the rounding (our convention). Weights ask for no gradient meanwhile.
        ValueError where no finite gradient comes through.
        """
        from vlmguard_plugin.subjects.pixels import frozen_weights

        levels = levels_of(self.start)
        count = len(self.examples.harmful)
        numbers = pairs_in_turn(count, min(batch, count), steps, seed)
        label = progress and f"{progress}border"
        with frozen_weights(self.places.subject.torch_model):
            with tqdm(numbers, desc=label, total=steps, unit="step", disable=progress is None) as bar:
                for indices in bar:
                    border = levels.round().requires_grad_()
                    loss = self.loss(border, self.examples.some(indices))
                    (gradient,) = torch.autograd.grad(loss, border, allow_unused=True)
                    if gradient is None or not bool(torch.isfinite(gradient).all()):
                        raise ValueError(
                            "the border's pixels have no finite gradient in the states of this model; load it in "
                            "bfloat16 or float32, or give a border that was made elsewhere (image=FILE)"
                        )
                    levels = (levels - step * gradient.sign()).clamp(0, 255)
                    bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        return levels.round() * self.mask

    def loss(self, border: Tensor, examples: Examples) -> Tensor:
        """The aim's loss on some examples, with gradients by the border's levels [height, width, 3]."""
        from vlmguard_plugin.subjects.pixels import pixel_states

        queries = (*examples.harmful, *examples.harmless)
        shown = [self.framed(query, picture_of(border)) for query in queries]
        inside = torch.stack([levels_of(query.images[0]) for query in shown])
        canvases = torch.where(self.mask, border, inside).to(self.places.subject.device)
        states = pixel_states(self.places, shown, canvases, self.layer)
        half = len(examples.harmful)
        return self.aim.loss(states[:half], states[half:], examples.harmless_before)

    def gained(self, border: Tensor) -> dict[str, Any]:
        """Loss, and mean places of harmful and harmless states, with the border before and after training.

        Of at most MOST_CHECKED pairs, through the same passes as an answer's. ValueError where the loss is no lower.
        """
        count = len(self.examples.harmful)
        checked = self.examples.some(range(0, count, -(-count // MOST_CHECKED)))
        facts: dict[str, Any] = {"checked_pairs": len(checked.harmful)}
        for when, picture in (("before", self.start), ("after", picture_of(border))):
            queries = [self.framed(query, picture) for query in (*checked.harmful, *checked.harmless)]
            states = check_finite(self.places.subject.record(queries), lambda row: f"bordered anchor {row + 1}")[
                :, self.layer
            ]
            harmful, harmless = states[: len(checked.harmful)], states[len(checked.harmful) :]
            facts[f"loss_{when}"] = float(self.aim.loss(harmful, harmless, checked.harmless_before))
            facts[f"places_{when}"] = [float(self.aim.places(side).mean()) for side in (harmful, harmless)]
        if not facts["loss_after"] < facts["loss_before"]:
            raise ValueError(
                f"the border's loss on the anchors is {facts['loss_after']:.4g} after training and was "
                f"{facts['loss_before']:.4g} before; give more steps, a smaller step, a larger batch or another seed"
            )
        return facts


def gap_of(examples: Examples, direction: Tensor) -> tuple[float, float]:
    """Origin and unit along r that put the mean harmless state at 0 and the mean harmful one at 1."""
    length = float(direction.norm())
    return float((examples.harmless_before @ (direction / length)).mean()), length
