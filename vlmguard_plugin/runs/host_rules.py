"""How VLMEvalKit scores its own utility sets: by which rule, over what, and which of them no rule here can score.

A set whose rule needs a model, references of captions or a mean of means is not scored here: the host's own figure
stands on the board beside it, or the set is left out with the reason. Needs no host.
"""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from typing import Any, Mapping, Sequence

from vlmguard_plugin.judges.open_answers import (
    FORMULAS,
    Rule,
    anls,
    contained,
    contained_as_written,
    contained_formula,
    relaxed,
    same,
    vqa_accuracy,
    yes_or_no,
)
from vlmguard_plugin.runs.answers import Item

CIRCULAR = 1_000_000
"""A question is asked again with its options turned, under its index plus a multiple of this."""
RULE_COLUMN = "scoring_rule"
"""A column of a set of one's own that names one of RULES."""
RULES: Mapping[str, tuple[Rule, str]] = {
    "vqa_accuracy": (vqa_accuracy, "VQA accuracy"),
    "anls": (anls, "ANLS"),
    "relaxed": (relaxed, "relaxed accuracy (5%)"),
    "same": (same, "exact match"),
    "contained": (contained, "an accepted answer stands in it"),
    "contained_as_written": (contained_as_written, "the right answer stands in it, as written"),
    "yes_or_no": (yes_or_no, "yes or no"),
}
"""By name, a rule and what it is called in words."""
BY_NAME = {
    "TextVQA": "vqa_accuracy",
    "VizWiz": "vqa_accuracy",
    "DocVQA": "anls",
    "InfoVQA": "anls",
    "ChartQA": "relaxed",
    "OCRVQA": "same",
    "GQA": "same",
    "OCRBench_v2": "",
    "OCRBench": "contained",
    "CountBenchQA": "contained_as_written",
    "POPE": "yes_or_no",
    "HallusionBench": "yes_or_no",
}
"""By the first part of a set's name, its rule; "" for a relative that is scored otherwise. The first that fits
counts."""
F1 = ("POPE",)
"""Sets whose score is the F1 of yes; a question that belongs to several of its categories counts in each."""
WHY_NOT = {
    "COCO_VAL": "captions are compared with references (CIDEr, BLEU, ROUGE-L), which are no score of one answer",
    "MME": "its score is a sum over categories of accuracy and of pictures with both answers right, no mean",
    "AMBER": "its score is the mean over three groups of questions, not over answers",
    "VSR": "its score is a table of precision, recall and F1",
    "MMVet": "it is scored by a model",
    "MathVista": "the number or option meant is extracted by a model",
    "MathVerse": "it is scored by a model",
    "MathVision": "the answer meant is extracted by a model",
    "LLaVABench": "it is scored by a model",
    "LLaVABench_KO": "it is scored by a model",
}
"""By name, why a set of the host's can't be scored by a rule of one answer at a time."""
OTHER_MEANS = {
    "CV-Bench-2D": "the host's figure is the mean of its sources' accuracies",
    "MMVP": "the host's figure counts a pair of questions as right where both are",
    "MMSci_DEV_MCQ": "the host's figure is the mean of its three settings' accuracies",
    "WeMath": "the host's figures weigh how the steps of a problem go together",
    "SiteBenchImage": "the host's second figure takes out what chance gives",
}
"""By name, what else the host makes of a multiple-choice set's answers."""
OTHER_SETS = frozenset(
    (
        "atomic_dataset electro_dataset mechanics_dataset optics_dataset quantum_dataset statistics_dataset hle "
        "npmm BMMR CMMMU_VAL CoreCognition CharXiv ChartBench ChartCap ChartMimic ChartMuseum ChartQAPro ChartX "
        "Creation_MMBench CRPE DA-2K Design2Code DUDE DynaMath EMMA ERQA FoxBench GOBench GSM8K-V GroundingME "
        "HiPhO_ALL IPhO EuPhO APhO PanPhO NBPhO F_MA PanMechanics LENS LiveMMBench LogicVista M4Bench MATBench "
        "MaCBench MathCanvas MedqbenchCaption MedqbenchPairedDescription MIA-Bench MM-HELIX MM-IFEval MM-Math "
        "MMAlignBench MMDU MMESCI MME-Reasoning MME_CoT MMGenBench MMLongBench MMReason MMRarebench MMSci "
        "MMVMBench MMOral_OPG_OPEN MM_NIAH MOAT MTVQA OCR_Reasoning OST OSWorld_G OceanOCRBench OlympiadBench "
        "Omni3DBench OmniDocBench PathVQA PhyX Physics PlotQA QSpatial ReasonMap RefCOCO RefSpatial "
        "RoboSpatialHome SArena SFE SIUO_GEN SLIDEVQA SSI_Bench SciDocBench ScreenSpot SeePhys SimpleVQA SparBench "
        "Spatial457 TableVQABench TallyQA UniSVG VBGD VCR VGRPBench VL-RewardBench VLADBench VLM2Bench VLMBias "
        "VLRMBench VTCBench VenusBench VisFactor WildDoc WildVision WorldVQA ZEROBench Asclepius AyaVisionBench "
        "CCOCR vlms_are_biased olmOCRBench tdbench_grounding MMSafetyBench MSSBench SIUO State_Invariance "
        "State_Comparison Spatial_Perception Instance_Comparison Detailed_Difference SGI Flames "
        "NaturalBenchDataset NaturalBench XLRS OmniEarth PuzzleVQA VisualPuzzles VisuLogic VLMBlind A4Bench WeMath "
        "LEGO TopViewRS TreeBench VMCBench MMMU_Pro MicroBench OmniMedVQA MSEarthMCQ SCAM CVQA MUIRBench GMAI ERIQ "
        "EmbSpatialBench MindCubeBench OmniSpatialBench SPBench SiteBenchImage SpatialVizBench StareBench "
        "ViewSpatialBench M3oralBench MedQDEGBench MedqbenchMCQ MMSIBench MMOral_OPG_CLOSED MedXpertQA_MM HRBench4K "
        "HRBench8K 3DSRBench tdbench BabyVision LongDocURL MRareBench MemLens OmniMat PerceptionBench SUPERChem "
        "Spatial-DISE WikiVQABench wildprobe_multiimg_reasoning"
    ).split()
)
"""The first parts of the names of the host's other open sets (0.0.20, and its repository in autumn 2026).

Among them are its multiple-choice sets that have a class of their own: their rows may have no columns of options (these
stand in the question), and a right answer that is a letter is no word to look for in an answer.
"""


def is_ours(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether this package has written a table's data set, which is then scored by its own judges."""
    return bool(rows) and {"condition", "pair"} <= set(rows[0])


def open_rule(rows: Sequence[Mapping[str, Any]], dataset: str) -> str | None:
    """The name in RULES by which the host scores an open set; "" where it scores it in no such way; None: unknown set.

    KeyError for a name in the column RULE_COLUMN that is none of RULES.
    """
    own = str(rows[0].get(RULE_COLUMN) or "") if rows else ""
    if own:
        if own not in RULES:
            raise KeyError(f"the column {RULE_COLUMN} says {own!r}; it must be one of {', '.join(RULES)}")
        return own
    for name, rule in BY_NAME.items():
        if begins(dataset, name):
            return rule
    return "" if any(begins(dataset, name) for name in (*WHY_NOT, *OTHER_SETS)) else None


def begins(dataset: str, name: str) -> bool:
    """Whether a data set's name is this one, or goes on with a dash behind it."""
    return dataset == name or dataset.startswith((f"{name}_", f"{name}-"))


def why_not(dataset: str) -> str:
    """Why no rule here scores a set of the host's."""
    names = [name for name in WHY_NOT if begins(dataset, name)]
    return WHY_NOT[max(names, key=len)] if names else "the host scores it by a model or by a rule of its own"


def counts_f1(dataset: str) -> bool:
    """Whether a set's score is the F1 of yes."""
    return any(begins(dataset, name) for name in F1)


def rule_for(rule: str, category: str) -> Rule:
    """The rule of RULES for one row; OCRBench's formulas have one of their own."""
    return contained_formula if rule == "contained" and category == FORMULAS else RULES[rule][0]


def accepted_answers(cell: str) -> list[str]:
    """The answers that a cell accepts: a list written as text, or one answer."""
    if cell.lstrip().startswith("["):
        try:
            listed = ast.literal_eval(cell.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return [cell]
        if isinstance(listed, list) and listed:
            return [str(one) for one in listed]
    return [cell]


def is_circular(dataset: str) -> bool:
    """Whether the host counts a question as right only where it is in all turns of its options."""
    name = dataset.lower()
    return not name.startswith("gmai") and any(part in name for part in ("mmbench", "ccbench", "circular", "mmcr"))


def first_index(index: str) -> str:
    """The index under which a turned question was asked first."""
    return str(int(index) % CIRCULAR) if re.fullmatch("[0-9]{1,18}", index) else index


def in_each_category(items: Sequence[Item], rows: Mapping[str, Mapping[str, Any]], dataset: str) -> tuple[Item, ...]:
    """Items of a set with F1, one a category that a question belongs to, with what is right. rows: by index."""
    return tuple(
        replace(
            item,
            key=(f"{item.key[0]}:{category}" if category else item.key[0], item.key[1]),
            category=category,
            base_request=item.base_request or f"{dataset}:{item.key[0]}",
            positive=str(rows[item.key[0]]["answer"]).strip().lower() == "yes",
        )
        for item in items
        for category in item.category.split(",")
    )


def whole_questions(items: Sequence[Item], groups: Mapping[str, str]) -> tuple[Item, ...]:
    """One item a question, under the first turn that is there: right where every turn is.

    groups: by index, the index of the first turn, where the data set says so. Wrong in one turn is wrong, whatever
    the others are; else a turn that is unknown, then one that is unparsed, decides.
    """
    turns: dict[str, list[Item]] = {}
    for item in items:
        turns.setdefault(groups.get(item.key[0]) or first_index(item.key[0]), []).append(item)
    whole = []
    for of_question in turns.values():
        labels = {item.label for item in of_question}
        label = next(name for name in ("wrong", "unknown", "unparsed", "right") if name in labels)
        whole.append(replace(of_question[0], label=label))
    return tuple(whole)
