"""Published sets of text requests, each alone or beside a picture: the papers' contrast of text with text and image.

MaliciousInstruct (arXiv 2310.06987), AdvBench (2307.15043), HarmBench (2402.04249), JailbreakBench (2404.01318) and
StrongREJECT (2402.10260). NAME_<condition> takes any condition (`condition.py`); all conditions of a set have the
same ids in the same order.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Mapping

from vlmguard_plugin.benchmarks.attack import Asking
from vlmguard_plugin.benchmarks.benchmark import Benchmark, Download
from vlmguard_plugin.benchmarks.requests import PICTURES, conditions, in_conditions, read_beside, read_requests
from vlmguard_plugin.benchmarks.row import BenchmarkError, Reading, Row, SourceMissing
from vlmguard_plugin.benchmarks.table import need_columns, read_csv

MALICIOUS = ("MaliciousInstruct.txt", "data/MaliciousInstruct.txt")
ADVBENCH = ("harmful_behaviors.csv", "data/advbench/harmful_behaviors.csv")
HARMBENCH = ("harmbench_behaviors_text_all.csv", "data/behavior_datasets/harmbench_behaviors_text_all.csv")
JAILBREAKBENCH_HARMFUL = ("harmful-behaviors.csv", "data/harmful-behaviors.csv")
JAILBREAKBENCH_HARMLESS = ("benign-behaviors.csv", "data/benign-behaviors.csv")
STRONGREJECT = ("strongreject_dataset.csv", "strongreject_dataset/strongreject_dataset.csv")
STRONGREJECT_SMALL = ("strongreject_small_dataset.csv", "strongreject_dataset/strongreject_small_dataset.csv")

CONTEXTUAL_FORM = "{context}\n\n---\n\n{behavior}"
"""How a contextual behaviour of HarmBench becomes one request: its context first, as its authors do."""
SEMANTIC = (
    "chemical_biological", "cybercrime_intrusion", "harassment_bullying", "harmful", "illegal",
    "misinformation_disinformation",
)  # fmt: skip
STRONGREJECT_ROWS = {False: 313, True: 60}
"""How many rows the full and the small set have."""
HARMBENCH_GROUPS = {
    "standard": tuple(f"standard: {name}" for name in SEMANTIC),
    "contextual": tuple(f"contextual: {name}" for name in SEMANTIC),
    "copyright": ("copyright",),
}
"""HarmBench's functional categories, from the categories of our rows."""


def file_in(source: Path, names: tuple[str, ...]) -> Path:
    """The file itself, or the first of the names that is in a folder; SourceMissing names what is expected."""
    if not source.is_dir():
        return source
    file = next((source / name for name in names if (source / name).is_file()), None)
    if file is None:
        raise SourceMissing(f"no {' or '.join(names)} in {source}; give that file or the folder that holds it")
    return file


@in_conditions
def read_malicious_instruct(source: Path, *, asking: Asking) -> Reading:
    """Rows of MaliciousInstruct.txt, one request a line; the id is the request's number from 1."""
    return read_requests(file_in(Path(source), MALICIOUS), True, asking=asking)


@in_conditions
def read_advbench(source: Path, *, asking: Asking) -> Reading:
    """Rows of AdvBench's harmful_behaviors.csv (goal, target); the id is the row's number from 1.

    target, the start of an answer that attacks steer to, is no reference answer and is left out.
    """
    path = file_in(Path(source), ADVBENCH)
    columns, records = read_csv(path)
    need_columns(path, columns, ("goal",))

    def as_text(number: int, cells: Mapping[str, str]) -> Row:
        return Row(id=str(number), request=cells["goal"], harmful=True, pair=str(number))

    return read_beside(path, records, as_text, asking)


@in_conditions
def read_harmbench(source: Path, *, asking: Asking) -> Reading:
    """Rows of HarmBench's text behaviours: harmbench_behaviors_text_all.csv, or its _val or _test file.

    A contextual behaviour's context belongs to the request and stands before it. Category: "standard: illegal",
    "contextual: illegal" and so on; copyright behaviours (lyrics and books) are kept, under "copyright".
    """
    path = file_in(Path(source), HARMBENCH)
    columns, records = read_csv(path)
    need_columns(path, columns, ("behavior", "functionalcategory", "semanticcategory", "contextstring", "behaviorid"))
    return read_beside(path, records, harmbench_row, asking)


def harmbench_row(number: int, cells: Mapping[str, str]) -> Row:
    """One behaviour as text alone."""
    functional, item, context = cells["functionalcategory"], cells["behaviorid"], cells["contextstring"]
    if functional not in HARMBENCH_GROUPS:
        raise BenchmarkError(f"FunctionalCategory is {functional!r}; it must be one of {', '.join(HARMBENCH_GROUPS)}")
    if not item:
        raise BenchmarkError("BehaviorID is empty; every behaviour must have one")
    if not cells["behavior"]:
        raise BenchmarkError(f"Behavior of {item} is empty; every row must ask something")
    if functional == "contextual" and not context:
        raise BenchmarkError(f"the contextual behaviour {item} has no ContextString; the request lacks a part")
    return Row(
        id=item,
        request=CONTEXTUAL_FORM.format(context=context, behavior=cells["behavior"]) if context else cells["behavior"],
        category="copyright" if functional == "copyright" else f"{functional}: {cells['semanticcategory']}",
        harmful=True,
        pair=item,
    )


@in_conditions
def read_jailbreakbench(source: Path, half: str = "both", *, asking: Asking) -> Reading:
    """Rows of JBB-Behaviors: harmful-behaviors.csv and benign-behaviors.csv, harmful ones first.

    half: "both" or "harmless". source: the folder of both files, or one file, which is then all that is read (harmless
    where its name says benign). A harmful request and its harmless twin share the authors' Index; it is their pair, and
    they stand beside the same picture. Ids: "harmful_0", "harmless_0".
    """
    source = Path(source)
    if source.is_dir():
        harmless = file_in(source, JAILBREAKBENCH_HARMLESS)
        halves = [(harmless, False)]
        if half == "both":
            halves.insert(0, (file_in(source, JAILBREAKBENCH_HARMFUL), True))
    else:
        benign = "benign" in source.name.lower()
        if half == "harmless" and not benign:
            raise BenchmarkError(
                f"{source} is not named benign-behaviors.csv; the harmless half is read from that file"
            )
        halves = [(source, not benign)]
    readings = [read_half(path, harmful, asking) for path, harmful in halves]
    return Reading(
        tuple(row for reading in readings for row in reading.rows),
        tuple(bad for reading in readings for bad in reading.bad),
    )


def read_half(path: Path, harmful: bool, asking: Asking) -> Reading:
    """Rows of one file of JBB-Behaviors."""
    columns, records = read_csv(path)
    need_columns(path, columns, ("index", "goal", "category"))

    def as_text(number: int, cells: Mapping[str, str]) -> Row:
        if not cells["index"]:
            raise BenchmarkError("Index is empty; it pairs harmful and harmless requests")
        return Row(
            id=f"{'harmful' if harmful else 'harmless'}_{cells['index']}",
            request=cells["goal"],
            category=cells["category"],
            harmful=harmful,
            pair=cells["index"],
        )

    return read_beside(path, records, as_text, asking)


@in_conditions
def read_strongreject(source: Path, small: bool = False, *, asking: Asking) -> Reading:
    """Rows of strongreject_dataset.csv (313), or of the small set (60); the id is the row's number from 1.

    BenchmarkError where the file is the other of the two, by its name or its number of rows.
    """
    path = file_in(Path(source), STRONGREJECT_SMALL if small else STRONGREJECT)
    columns, records = read_csv(path)
    other = STRONGREJECT_SMALL if not small else STRONGREJECT
    if path.name == other[0] or len(records) == STRONGREJECT_ROWS[not small]:
        names = {False: "StrongREJECT_<condition>", True: "StrongREJECT_small_<condition>"}
        raise BenchmarkError(
            f"{path} is the {'full' if small else 'small'} set ({len(records)} rows); prepare {names[not small]} of it "
            f"(the file of {names[small]} has {STRONGREJECT_ROWS[small]})"
        )
    need_columns(path, columns, ("category", "forbidden_prompt"))

    def as_text(number: int, cells: Mapping[str, str]) -> Row:
        return Row(
            id=str(number),
            request=cells["forbidden_prompt"],
            category=cells["category"],
            harmful=True,
            pair=f"small_{number}" if small else str(number),
        )

    return read_beside(path, records, as_text, asking)


GITHUB = "https://raw.githubusercontent.com"
HARMFUL_DOWNLOAD = Download(
    "https://huggingface.co/datasets/JailbreakBench/JBB-Behaviors/resolve/"
    "886acc352a31533ffbcf4ef22c744658688086fc/data/harmful-behaviors.csv",
    "harmful-behaviors.csv",
    "4a8ec6832056b631eb092dccc60d37a61c3d441268268888b3d006288afeffa1",
)
HARMLESS_DOWNLOAD = Download(
    "https://huggingface.co/datasets/JailbreakBench/JBB-Behaviors/resolve/"
    "886acc352a31533ffbcf4ef22c744658688086fc/data/benign-behaviors.csv",
    "benign-behaviors.csv",
    "3cda234d21a991fa309bbfea4b6d9dae31ccdf8e9d452424b6a983e4fdc33468",
)


jailbreakbench = partial(
    Benchmark,
    kind="safety",
    read=read_jailbreakbench,
    source="huggingface.co/datasets/JailbreakBench/JBB-Behaviors, folder data",
    licence="MIT",
    attack="the answer fulfils the harmful request; on harmless requests a refusal is counted",
    judge="Llama-3-70B for harm, Llama-3-8B for refusal, with its authors' prompts",
)
strongreject = partial(
    Benchmark,
    kind="safety",
    read=read_strongreject,
    source="github.com/alexandrasouly/strongreject, folder strongreject_dataset",
    licence="MIT",
    harmful="every row",
    attack="the answer does not refuse and is convincing and specific: a score from 0 to 1",
    judge="a rubric put to GPT-4; later also a fine-tuned Gemma-2B",
    changed=PICTURES,
)

BENCHMARKS = {
    **conditions(
        "MaliciousInstruct",
        Benchmark(
            read_malicious_instruct,
            "safety",
            source="github.com/Princeton-SysML/Jailbreak_LLM, data/MaliciousInstruct.txt",
            licence="none stated by its authors",
            harmful="every row",
            attack="the answer fulfils the request",
            judge="a classifier that its authors trained; VLM-Guard's paper: LlamaGuard-7b",
            changed=PICTURES,
            downloads=(
                Download(
                    f"{GITHUB}/Princeton-SysML/Jailbreak_LLM/1e490531c0ef4bc13430178bf1fbc8f813e34b1a/data/"
                    "MaliciousInstruct.txt",
                    "MaliciousInstruct.txt",
                    "a64d69dd1004aac4a23aaff3748fb8f17161893f74db36f45b8bc849eb1bcce5",
                ),
            ),
        ),
    ),
    **conditions(
        "AdvBench",
        Benchmark(
            read_advbench,
            "safety",
            source="github.com/llm-attacks/llm-attacks, data/advbench/harmful_behaviors.csv",
            licence="MIT",
            harmful="every row",
            attack="the answer makes a reasonable attempt at the behaviour",
            judge="a list of refusal phrases",
            changed=f"{PICTURES}; target is not used",
            downloads=(
                Download(
                    f"{GITHUB}/llm-attacks/llm-attacks/098262edf85f807224e70ecd87b9d83716bf6b73/data/advbench/"
                    "harmful_behaviors.csv",
                    "harmful_behaviors.csv",
                    "6cd1a5c63c07610d7eb67307772ee5606017ee950b5770ab288a2c487489d3e1",
                ),
            ),
        ),
    ),
    **conditions(
        "HarmBench",
        Benchmark(
            read_harmbench,
            "safety",
            source="github.com/centerforaisafety/HarmBench, data/behavior_datasets/harmbench_behaviors_text_all.csv",
            licence="MIT",
            harmful="every row",
            attack="the answer shows the behaviour; of copyright rows, reproduces the protected text",
            judge="a fine-tuned Llama-2-13b classifier; hashes of the protected text for copyright rows",
            changed=f"{PICTURES}; copyright rows are a category to be read apart: no judge here compares hashes",
            groups=HARMBENCH_GROUPS,
            downloads=(
                Download(
                    f"{GITHUB}/centerforaisafety/HarmBench/8e1604d1171fe8a48d8febecd22f600e462bdcdd/data/behavior_datasets/"
                    "harmbench_behaviors_text_all.csv",
                    "harmbench_behaviors_text_all.csv",
                    "8d81accedd38eaaf8b760618622bb888417d1fd0c86eba65c427a16f1cbb4afc",
                ),
            ),
        ),
    ),
    **conditions(
        "JailbreakBench",
        jailbreakbench(
            fixed={"half": "both"},
            harmful="by file: harmful-behaviors.csv, benign-behaviors.csv",
            changed=f"{PICTURES}; harmful and harmless twins are one set, paired by Index",
            downloads=(HARMFUL_DOWNLOAD, HARMLESS_DOWNLOAD),
        ),
    ),
    **conditions(
        "JailbreakBench_harmless",
        jailbreakbench(
            fixed={"half": "harmless"},
            harmful="no row",
            changed=PICTURES,
            downloads=(HARMLESS_DOWNLOAD,),
        ),
    ),
    **conditions(
        "StrongREJECT",
        strongreject(
            fixed={"small": False},
            downloads=(
                Download(
                    f"{GITHUB}/alexandrasouly/strongreject/f7cad6c17e624e21d8df2278e918ae1dddb4cb56/strongreject_dataset/"
                    "strongreject_dataset.csv",
                    "strongreject_dataset.csv",
                    "4dd70357e4ff8b5d0ba5ebafecab5d6dd5633ce8046e3dd1c8bd93e64de44381",
                ),
            ),
        ),
    ),
    **conditions(
        "StrongREJECT_small",
        strongreject(
            fixed={"small": True},
            downloads=(
                Download(
                    f"{GITHUB}/alexandrasouly/strongreject/f7cad6c17e624e21d8df2278e918ae1dddb4cb56/strongreject_dataset/"
                    "strongreject_small_dataset.csv",
                    "strongreject_small_dataset.csv",
                ),
            ),
        ),
    ),
}
