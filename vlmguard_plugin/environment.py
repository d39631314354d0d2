"""Every VLMGUARD_* variable: its kind, default and meaning. `vlmguard env` prints this table.

    device = DEVICE.value() or default_device()

An empty value counts as none. `hosts/autoload.py`, which runs at every start of Python and may import nothing, reads
VLMGUARD_DISABLE by itself.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

JUDGES_WITH_PROMPT = ("harmbench", "wildguard", "strongreject")
SECRET = "set, not shown"


@dataclass(frozen=True)
class Variable:
    """One variable of the environment.

    kind: what its value is, in words. default: what holds without it, in words. meaning: in one line.
    choices: the values there are, where they are few. secret: its value is never shown.
    """

    name: str
    kind: str
    default: str
    meaning: str
    choices: tuple[str, ...] = ()
    secret: bool = False

    def value(self) -> str | None:
        """Its value, None where it is not set or empty; ValueError for one that is none of its choices."""
        value = os.environ.get(self.name) or None
        if value is not None and self.choices and value not in self.choices:
            raise ValueError(f"${self.name} is {value!r}; choose one of {', '.join(self.choices)}, or unset it")
        return value

    def whole(self) -> int | None:
        """Its value as a whole number of at least 1; ValueError for anything else."""
        value = self.value()
        if value is None:
            return None
        if not (value.isascii() and value.isdigit() and int(value) >= 1):
            raise ValueError(f"${self.name} is {value!r}; give a whole number of at least 1, or unset it")
        return int(value)

    def path(self) -> Path | None:
        """Its value as a path, ~ being the home directory."""
        value = self.value()
        try:
            return None if value is None else Path(value).expanduser()
        except RuntimeError as error:
            raise ValueError(f"${self.name} is {value!r} ({error}); name the folder or file in full") from error

    def shown(self) -> str:
        """Its value as it may be printed; "" where it is not set."""
        value = os.environ.get(self.name, "")
        return SECRET if value and self.secret else value


TRANSFORMERS, VLLM = "transformers", "vllm"
ENGINES = (TRANSFORMERS, VLLM)
DTYPE_NAMES = ("float32", "bfloat16", "float16")

DISABLE = Variable(
    "VLMGUARD_DISABLE",
    "flag",
    "not set",
    "The plugin stays out of the hosts altogether (any value but 0, false and no).",
)
CACHE = Variable(
    "VLMGUARD_CACHE",
    "folder",
    "the user's cache directory",
    "Where fitted guards, downloads and the demo VLM are kept.",
)
DEVICE = Variable(
    "VLMGUARD_DEVICE",
    "cpu, cuda, cuda:N, mps or auto",
    "this process's own GPU, else the CPU",
    "Where models run; auto spreads one over all GPUs.",
)
DTYPE = Variable(
    "VLMGUARD_DTYPE",
    "one of " + ", ".join(DTYPE_NAMES),
    "what the device computes well",
    "Precision of the models' weights.",
    choices=DTYPE_NAMES,
)
BATCH_SIZE = Variable(
    "VLMGUARD_BATCH_SIZE", "whole number", "8", "Queries in one pass of a model; vLLM is handed 256 at once without it."
)
MAX_NEW_TOKENS = Variable(
    "VLMGUARD_MAX_NEW_TOKENS",
    "whole number",
    "the model's own (512)",
    "Longest answer, in tokens, of the package's own models on VLMEvalKit, and where a task names no length.",
)
ENGINE = Variable(
    "VLMGUARD_ENGINE",
    "one of " + ", ".join(ENGINES),
    "transformers",
    "What the package's own models run on.",
    choices=ENGINES,
)
VLLM_GUARD = Variable(
    "VLMGUARD_VLLM_GUARD",
    "folder",
    "none",
    "A fitted guard that is put on every vLLM engine started here, a host's own too.",
)
GUARD_DIR = Variable(
    "VLMGUARD_GUARD_DIR",
    "folder",
    "fitted at first use",
    "A fitted guard, used for models with that guard.",
)
ANCHORS = Variable(
    "VLMGUARD_ANCHORS",
    "how_to, varied, how_to+varied, or a csv with the columns harmful, harmless",
    "how_to, 128 pairs of the package's own",
    "Anchors that guards are fitted on.",
)
MODELS = Variable(
    "VLMGUARD_MODELS",
    "JSON file",
    "none",
    'Models of your own for VLMEvalKit, as "model" in its --config (class GuardedVLM or GuardedHost).',
)
VLMEVALKIT = Variable(
    "VLMGUARD_VLMEVALKIT",
    "folder",
    "the installed one, or the folder we are in",
    "A git clone of VLMEvalKit, whose run.py `vlmguard sweep` and `vlmguard demo` are to start.",
)
LLAVA = Variable("VLMGUARD_LLAVA", "folder", "llava-hf/llava-1.5-7b-hf", "A local checkpoint for the model llava.")
DEMO_VLM = Variable("VLMGUARD_DEMO_VLM", "folder", "built at first use", "A local checkpoint for the model demo_vlm.")
DEMO_VLM_CONTROL = Variable(
    "VLMGUARD_DEMO_VLM_CONTROL",
    "folder",
    "built at first use",
    "A local checkpoint for the model demo_vlm_control.",
)
DEMO_VLM_15B = Variable(
    "VLMGUARD_DEMO_VLM_15B", "folder", "built at first use", "A local checkpoint for the model demo_vlm_15b."
)
DEMO_VLM_15B_CONTROL = Variable(
    "VLMGUARD_DEMO_VLM_15B_CONTROL",
    "folder",
    "built at first use",
    "A local checkpoint for the model demo_vlm_15b_control.",
)
DEMO_GGUF = Variable(
    "VLMGUARD_DEMO_GGUF",
    "file",
    "downloaded at first use",
    "The language model of demo_vlm, where it lies already; its hash is checked.",
)
DEMO_GGUF_15B = Variable(
    "VLMGUARD_DEMO_GGUF_15B",
    "file",
    "downloaded at first use",
    "The language model of demo_vlm_15b, where it lies already; its hash is checked.",
)
MODERATOR_BASE_URL = Variable(
    "VLMGUARD_MODERATOR_BASE_URL", "URL", "none", "OpenAI-compatible endpoint of the guard model of `moderated`."
)
MODERATOR_KEY = Variable("VLMGUARD_MODERATOR_KEY", "key", "$OPENAI_API_KEY", "Its key.", secret=True)
JUDGE_BASE_URL = Variable(
    "VLMGUARD_JUDGE_BASE_URL", "URL", "none", "OpenAI-compatible endpoint of judges that are not local."
)
JUDGE_KEY = Variable("VLMGUARD_JUDGE_KEY", "key", "$OPENAI_API_KEY", "Its key.", secret=True)
JUDGE_DEVICE = Variable("VLMGUARD_JUDGE_DEVICE", "as VLMGUARD_DEVICE", "as for models", "Where local judges run.")
JUDGE_DTYPE = Variable(
    "VLMGUARD_JUDGE_DTYPE",
    "one of " + ", ".join(DTYPE_NAMES),
    "what the device computes well",
    "Precision of local judges.",
    choices=DTYPE_NAMES,
)
JUDGE_PROMPTS = {
    judge: Variable(
        f"VLMGUARD_{judge.upper()}_PROMPT",
        "text file",
        "our own wording",
        f"The prompt of the local judge {judge}, the authors' for instance.",
    )
    for judge in JUDGES_WITH_PROMPT
}

VARIABLES = (
    DISABLE,
    CACHE,
    DEVICE,
    DTYPE,
    BATCH_SIZE,
    MAX_NEW_TOKENS,
    ENGINE,
    GUARD_DIR,
    ANCHORS,
    MODELS,
    VLMEVALKIT,
    VLLM_GUARD,
    LLAVA,
    DEMO_VLM,
    DEMO_VLM_CONTROL,
    DEMO_VLM_15B,
    DEMO_VLM_15B_CONTROL,
    DEMO_GGUF,
    DEMO_GGUF_15B,
    MODERATOR_BASE_URL,
    MODERATOR_KEY,
    JUDGE_BASE_URL,
    JUDGE_KEY,
    JUDGE_DEVICE,
    JUDGE_DTYPE,
    *JUDGE_PROMPTS.values(),
)
"""All of them, those that most people need first."""


def as_markdown() -> str:
    """The page docs/environment.md: the table as Markdown."""
    lines = [
        "# Environment variables",
        "",
        "`vlmguard env` shows them with the values they have now. An empty value counts as none.",
        "This page is made by `vlmguard env --markdown > docs/environment.md`.",
        "",
        "| variable | value | default | meaning |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{variable.name}` | {variable.kind} | {variable.default} | {variable.meaning} |" for variable in VARIABLES
    ]
    return "\n".join(lines) + "\n"
