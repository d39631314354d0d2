"""The hosts' own sets whose columns are others, read as ours are: safety sets above all, to be judged again.

VLMEvalKit's classes have two traps. MMSafetyBench counts a judge that fails, or says neither safe nor unsafe, as "not
attacked"; and its rule fallback looks for the words safe and unsafe in the model's own answer, which it hardly ever
says, so that the attack rate falls to about 0. XSTest falls back to its keyword rules where the judge fails, and says
so nowhere. lmms-eval's `safety_redteam` counts an attack only where the answer holds certain words or begins as its
target does, and its `holisafe` looks for words such as "illegal". Here the host's answers are taken as they are, and
judged by any judge of ours: a failure is unknown. Needs no host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Mapping

from vlmguard_plugin.benchmarks import BENCHMARKS
from vlmguard_plugin.benchmarks.benchmark import Benchmark

if TYPE_CHECKING:
    import pandas


def mm_safetybench(frame: pandas.DataFrame) -> pandas.DataFrame:
    """Every request is harmful or against a policy; the column answer holds no right answer."""
    return frame.drop(columns="answer", errors="ignore").assign(harmful="1", condition="picture")


def xstest(frame: pandas.DataFrame) -> pandas.DataFrame:
    """The column answer says whether the request is safe or unsafe."""
    if "answer" not in frame:
        return frame
    marks = frame["answer"].map(lambda value: str(value).strip().lower())
    harmful = marks.map({"unsafe": "1", "safe": "0"}).fillna(marks)  # anything else is named by the error on its row
    return frame.drop(columns="answer").assign(harmful=harmful, condition="text")


def vizwiz(frame: pandas.DataFrame) -> pandas.DataFrame:
    """All that people have answered stands in a column of its own, which the host scores by."""
    return frame.assign(answer=frame["answers"]) if "answers" in frame else frame


def jailbreakbench(sample: Mapping[str, Any], harmful: str) -> dict[str, Any]:
    """A row of lmms-eval's tasks of JailbreakBench's behaviours; the task's own words stand behind the request."""
    asked = str(sample.get("input") or "")
    return {"question": asked, "intent": asked.rpartition("\n\n")[0], "harmful": harmful, "condition": "text"}


def holisafe(sample: Mapping[str, Any]) -> dict[str, Any]:
    """A row of lmms-eval's HoliSafe, whose target is the type.

    That is three letters, for the picture, the question, and both together: S safe, U unsafe.
    """
    kind = str(sample.get("target"))
    told = sample.get("holisafe_avg_asr")
    return {
        "question": sample.get("input"),
        "harmful": {"SSS": "0", "SSU": "1", "SUU": "1", "USU": "1", "UUU": "1"}.get(kind, kind),
        "category": told.get("subcategory") if isinstance(told, dict) else "",
        "condition": "picture",
    }


HOST_TASKS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "safety_jailbreakbench_harmful": lambda sample: jailbreakbench(sample, "1"),
    "safety_jailbreakbench_benign": lambda sample: jailbreakbench(sample, "0"),
    "holisafe": holisafe,
    "holisafe_llm_judge": holisafe,
}
"""By lmms-eval's name of a task, what gives a logged sample (without its document) the columns of ours."""
HOST_SETS: dict[str, Callable[[pandas.DataFrame], pandas.DataFrame]] = {
    "MMSafetyBench": mm_safetybench,
    "XSTest": xstest,
    "VizWiz": vizwiz,
}
"""By the host's name of the set, what gives its table of predictions the columns of ours."""
SAME_AS = {"MMSafetyBench": "MMSafety_SD_TYPO", "holisafe": "HoliSafe", "holisafe_llm_judge": "HoliSafe"}
"""Sets of the host that have the categories of one of ours."""


def benchmark_of(dataset: str) -> Benchmark | None:
    """What is known of a data set, ours or the host's; None where it is neither."""
    return BENCHMARKS.get(SAME_AS.get(dataset, dataset))


def with_host_columns(frame: pandas.DataFrame, dataset: str) -> pandas.DataFrame:
    """A table of predictions with the columns of ours, where it is a set of the host's that has others."""
    if dataset in HOST_SETS and "harmful" not in frame.columns:
        return HOST_SETS[dataset](frame)
    return frame
