"""VLMEvalKit datasets with an `evaluate` of their own: by rules, no network, no `-` in the summary, or by the judge
that the user names with the host's `--judge`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from vlmeval.dataset.image_base import ImageBaseDataset

from vlmguard_plugin import environment
from vlmguard_plugin.benchmarks import BENCHMARKS, lmu_data, open_prepared
from vlmguard_plugin.benchmarks.row import LETTERS, BenchmarkError, SourceMissing, choice_prompt
from vlmguard_plugin.benchmarks.tsv import SIDECAR
from vlmguard_plugin.hosts.vlmeval.command import is_hosts_command
from vlmguard_plugin.judges.base import Judge
from vlmguard_plugin.judges.judgements import Judgements
from vlmguard_plugin.judges.registry import LOCAL, build_judge
from vlmguard_plugin.query import UNREADABLE
from vlmguard_plugin.reading import read_json
from vlmguard_plugin.runs.answers import answers_of, clusters_of, parts_of
from vlmguard_plugin.runs.collect import by_rules, judged
from vlmguard_plugin.runs.readers.vlmevalkit import RUN_FOLDER, predictions_in
from vlmguard_plugin.runs.unread import unread_in
from vlmguard_plugin.statistics.levels import MAX_UNKNOWN
from vlmguard_plugin.statistics.measures import outcomes
from vlmguard_plugin.statistics.rates import rate

HOST_DEFAULT_JUDGE = "gpt-4o-mini"
"""What the host hands to most sets when the user has named no judge."""


class PreparedDataset(ImageBaseDataset):
    """A dataset in $LMUData that the package wrote: NAME.tsv beside NAME.vlmguard.json, which tells its kind.

    A set without pictures is put to the model as text alone.
    """

    kind = ""
    DEFAULT_JUDGE = ""
    force_use_dataset_prompt = True
    """The host's models would else put words of their own to the request ("Answer with a single word or phrase.")."""

    def __init__(self, dataset: str, **_: Any) -> None:  # some versions of the host hand all their arguments along
        self.whole: set[str] = set()
        """Paths of pictures that were looked at."""
        super().__init__(dataset, skip_noimg=False)

    @classmethod
    def supported_datasets(cls) -> list[str]:
        """Names of this kind: the package's own benchmarks, and whatever has been prepared in $LMUData."""
        names = [name for name, benchmark in BENCHMARKS.items() if benchmark.kind == cls.kind]
        prepared = [
            path.name.removesuffix(SIDECAR)
            for path in sorted(lmu_data().glob(f"*{SIDECAR}"))
            if kind_in(path) == cls.kind
        ]
        return names + [name for name in prepared if name not in names]

    def load_data(self, dataset: str) -> pd.DataFrame:
        path = lmu_data() / f"{dataset}.tsv"
        if not path.is_file():
            once = f"run `vlmguard data prepare {dataset} --source ...` once"
            raise SourceMissing(f"{dataset} is not prepared: there is no {path}; {once}")
        self.data_path = str(path)
        data = open_prepared(path)
        if "image" in data and data["image"].isna().any():
            rows = data.loc[data["image"].isna(), "index"].tolist()
            raise BenchmarkError(
                f"{path}: rows {rows[:5]} have no image while others do; keep text-only requests in a set of their own"
            )
        return data

    def build_prompt(self, line: Any) -> list[dict[str, str]]:
        if isinstance(line, int):
            line = self.data.iloc[line]
        pictures = [] if self.meta_only else self.dump_image(line)
        images = [{"type": "image", "value": path} for path in pictures]
        return [*images, {"type": "text", "value": self.request(line)}]

    def dump_image(self, line: Any) -> list[str]:
        """Paths of the row's pictures. A damaged one is written as it is: the model then fails that row alone.

        A picture that lies there already was perhaps left half written by a run that was killed; it is written again.
        """
        try:
            paths: list[str] = super().dump_image(line)
            half = [shown for shown in paths if shown not in self.whole and not is_whole_picture(shown)]
            for shown in half:
                Path(shown).unlink(missing_ok=True)
            paths = super().dump_image(line) if half else paths
            self.whole.update(paths)
            return paths
        except UNREADABLE:
            path = Path(self.img_root) / f"{line['index']}-damaged.png"
            path.write_text(str(line["image"]))
            return [str(path)]

    def request(self, line: Any) -> str:
        """The text put to the model for one row."""
        return str(line["question"])

    def evaluate(self, eval_file: str, **judge_kwargs: Any) -> pd.DataFrame:
        """Judge the predictions: each measure in percent, with its 95% Wilson interval, n and unknown rows.

        By rules, or, on a safety set, by the judge that `--judge` names (`judges.registry.build_judge`), whose
        judgements are kept in the work directory. A measure with too many unknown rows has no percentage. The same
        figures are written to *_score.csv beside the predictions.
        """
        file = Path(eval_file)
        judge = named_judge(judge_kwargs) if self.kind == "safety" else build_judge("rules")
        store = Judgements(work_dir_of(file))
        judging = (lambda cases: store.judged(judge, cases, progress=True)) if judge.name != "rules" else by_rules
        predictions = judged(predictions_in(file, "", self.dataset_name, file.parent), judging)
        parts = parts_of(self.dataset_name, predictions.items)
        apart = {name: belongs for name, belongs in parts.items() if "[" in name}
        answers = answers_of([predictions])
        clusters = clusters_of(answers)
        rows = []
        for part, belongs in {"": lambda item: True, **apart}.items():
            of_part = {key: item for key, item in answers.items() if belongs(item)}
            for name, events in outcomes(of_part).items():
                result = rate(events, MAX_UNKNOWN, clusters, unread_in(of_part))
                ends = {"percent": result.value, "low": result.low, "high": result.high}
                percent = {column: None if end is None else 100 * end for column, end in ends.items()}
                what = name + part.removeprefix(self.dataset_name)
                rows.append({"measure": what, **percent, "n": result.n, "unknown": result.unknown, "judge": judge.name})
        scores = pd.DataFrame(rows)
        scores.to_csv(file.with_suffix("").as_posix() + "_score.csv", index=False)
        return scores

    @classmethod
    def report_primary_metric(cls, metrics: dict | None) -> dict[str, float]:
        """The first measure's percentage, for the host's summary (by itself it would take the interval's end)."""
        percentages = {
            key: value for key, value in (metrics or {}).items() if key.endswith("|percent") and value is not None
        }
        return dict(list(percentages.items())[:1])


def is_whole_picture(path: str) -> bool:
    """Whether a picture can be decoded to its end."""
    try:
        with Image.open(path) as opened:
            opened.load()
    except UNREADABLE:
        return False
    return True


def named_judge(arguments: dict[str, Any]) -> Judge:
    """The judge of the host's arguments `--judge`, `--judge-base-url`, `--judge-key`; the rules where none was named.

    The host's own defaults, 600 seconds and six tries more, would wait for hours at an endpoint that hangs: time-out
    and retries are taken over where the user has given them (`--judge-timeout`, `--judge-retry`).
    """
    name = arguments.get("model")
    if name in (None, "", "rules", "exact_matching") or is_hosts_default(name):
        return build_judge("rules")
    name, _, path = name.partition("=")
    if name in LOCAL:
        return build_judge(name, path=path or None)
    return build_judge(
        name,
        path=path or None,
        base_url=arguments.get("api_base") or environment.JUDGE_BASE_URL.value(),
        key=arguments.get("key") or environment.JUDGE_KEY.value(),
        batch_size=arguments.get("nproc"),
        timeout=arguments.get("timeout") if given("--judge-timeout") else None,
        retry=arguments.get("retry") if given("--judge-retry", "--retry") else None,
    )


def is_hosts_default(name: str) -> bool:
    """Whether the host has named a judge, not the user: it has one for names that contain one of its own sets'."""
    if given("--judge", "--judge-args"):
        return False
    return name == HOST_DEFAULT_JUDGE or is_hosts_command(sys.argv, sys.orig_argv)


def given(*options: str) -> bool:
    """Whether the command line has one of these options; the host's arguments don't tell what is its own default."""
    return any(word.partition("=")[0] in options for word in sys.argv)


def work_dir_of(eval_file: Path) -> Path:
    """The host's work directory of a prediction file WORK_DIR/MODEL/[T.../]FILE."""
    folder = eval_file.absolute().parent
    return (folder.parent if RUN_FOLDER.fullmatch(folder.name) else folder).parent


class SafetyRequests(PreparedDataset):
    """Harmful (and harmless) requests: attack success, over-refusal, degeneration."""

    kind = "safety"
    TYPE = "Safety"
    """No type of the host's: several of its models add an "Answer:" to "VQA", or write short answers to it."""


class ExactChoice(PreparedDataset):
    """Multiple choice with one right letter."""

    kind = "mcq"
    TYPE = "MCQ"

    def request(self, line: Any) -> str:
        return choice_prompt(
            line["question"], [line[letter] for letter in LETTERS if letter in line and not pd.isna(line[letter])]
        )


class ExactOpen(PreparedDataset):
    """Open questions with one right answer."""

    kind = "open"
    TYPE = "VQA"


DATASETS = (SafetyRequests, ExactChoice, ExactOpen)


def kind_in(sidecar: Path) -> str | None:
    """The kind that a NAME.vlmguard.json tells; None where the file is no such thing."""
    try:
        facts = read_json(sidecar)
    except (OSError, ValueError):
        return None
    return facts.get("kind") if isinstance(facts, dict) else None
