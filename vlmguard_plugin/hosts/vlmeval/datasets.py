"""VLMEvalKit datasets with an `evaluate` of their own: no judge model, no network, no `-` in the summary."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from vlmeval.dataset.image_base import ImageBaseDataset
from vlmeval.smp import load

from vlmguard_plugin.benchmarks import BENCHMARKS
from vlmguard_plugin.benchmarks.tsv import lmu_data

LETTERS = "ABCDEFGHIJ"


class PreparedDataset(ImageBaseDataset):
    """A dataset that `vlmguard data prepare` wrote to $LMUData: NAME.tsv beside NAME.vlmguard.json.

    kind: "safety", "mcq" or "open", as the json file says. Rows without an image are text-only requests.
    """

    kind = ""
    MODALITY = "IMAGE"
    DEFAULT_JUDGE = ""

    def __init__(self, dataset: str) -> None:
        super().__init__(dataset, skip_noimg=False)

    @classmethod
    def supported_datasets(cls) -> list[str]:
        """Names of this kind: the package's own benchmarks, and whatever has been prepared in $LMUData."""
        names = [name for name, benchmark in BENCHMARKS.items() if benchmark.kind == cls.kind]
        for sidecar in sorted(lmu_data().glob("*.vlmguard.json")):
            name = sidecar.name.removesuffix(".vlmguard.json")
            if name not in names and prepared_kind(sidecar) == cls.kind:
                names.append(name)
        return names

    def load_data(self, dataset: str) -> pd.DataFrame:
        path = lmu_data() / f"{dataset}.tsv"
        if not path.is_file():
            raise FileNotFoundError(
                f"{dataset} is not prepared: there is no {path}; run `vlmguard data prepare {dataset} --source ...` once"
            )
        self.data_path = str(path)
        data = pd.read_csv(path, sep="\t", dtype={"index": str, "pair": str}, keep_default_na=False, na_values=[""])
        missing = [column for column in ("index", "question") if column not in data]
        if missing or data.empty:
            problem = f"lacks the column {' and '.join(missing)}" if missing else "has no rows"
            raise ValueError(f"{path} {problem}; run `vlmguard data prepare {dataset} --source ...` again")
        if "image" in data:
            if data["image"].isna().all():
                del data["image"]
            elif data["image"].isna().any():
                rows = data.index[data["image"].isna()].tolist()
                raise ValueError(f"{path}: rows {rows[:5]} have no image while others do; keep text-only requests in their own file")
        return data

    def build_prompt(self, line) -> list[dict]:
        if isinstance(line, int):
            line = self.data.iloc[line]
        images = [] if self.meta_only else self.dump_image(line)
        return [dict(type="image", value=path) for path in images] + [dict(type="text", value=self.request(line))]

    def request(self, line) -> str:
        """The text put to the model for one row."""
        return line["question"]


def prepared_kind(sidecar: Path) -> str | None:
    """The kind in a NAME.vlmguard.json; None where the file can't be read as one."""
    try:
        return json.loads(sidecar.read_text()).get("kind")
    except (OSError, ValueError, AttributeError):
        return None
