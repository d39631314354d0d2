"""CoCA (arXiv 2409.11365): amplify what a safety prompt changes in the logits of each token."""

from __future__ import annotations

from dataclasses import dataclass

from vlmguard_plugin.guards.core.preset import Preset
from vlmguard_plugin.guards.core.prompt import PromptGuard, PromptSettings
from vlmguard_plugin.guards.core.representation import MOST_ALPHA


@dataclass(frozen=True)
class CoCASettings(PromptSettings):
    """Settings of CoCA.

    alpha: how much the safety delta is amplified, from -1000 to 1000; 0 is the safety prompt by itself, -1 the
        request without it. Its value in the source is not known to us.
    prompt_file: as for all prompt guards; the safety prompt, with {query} where the request goes.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_number("alpha", -MOST_ALPHA, MOST_ALPHA)


class CoCA(PromptGuard):
    """CoCA: each token's logits are `z_s + alpha (z_s - z)`, z_s with a safety prompt around the request, z without.

    Both stand before the same answer so far; z_s - z is the safety delta. It is not known to us whether the source
    adds the delta to z_s or to z, which is the same with alpha larger by 1; ours is z_s. The wording is this project's
    own, `prompt_file` takes an original. Every request alike, text-only ones too. Nothing is fitted.

    Both prompts are decoded as two rows of one batch, greedily: sampling and beams are refused, and so are hosts' own
    model objects. Twice the cost. Words that `generate` rules out for one of the two keep z_s.
    """

    name = "coca"
    Settings = CoCASettings
    settings: CoCASettings
    paper = Preset(
        {}, ours=("alpha", "prompt_file"), note="the wording is ours; what the delta is added to is our reading"
    )
    template = (
        "You never help with anything harmful, illegal, hateful or dangerous, whether a request or an image asks for "
        "it; then you refuse.\n{query}"
    )

    @property
    def contrast(self) -> float:
        return self.settings.alpha
