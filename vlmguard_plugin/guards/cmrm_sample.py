"""CMRM (arXiv 2410.09047) at sample level, under a name of its own."""

from __future__ import annotations

from dataclasses import dataclass

from vlmguard_plugin.guards.cmrm import CMRM, CMRMSettings
from vlmguard_plugin.guards.core.preset import Preset


@dataclass(frozen=True)
class CMRMSampleSettings(CMRMSettings):
    """CMRM's settings with the sample level as default."""

    level: str = "sample"


class CMRMSample(CMRM):
    """CMRM at sample level, under a name of its own; see CMRM."""

    name = "cmrm_sample"
    Settings = CMRMSampleSettings
    settings: CMRMSampleSettings
    paper = Preset(
        {"layers": "all", "positions": "every_step"},
        ours=("alpha", "scale", "norm_cap"),
        note="the sources say that alpha 1 makes answers degenerate at sample level, and give no other",
    )
