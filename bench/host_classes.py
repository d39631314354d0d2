"""Which of VLMEvalKit's model classes a guard works on: each is built tiny, fitted on and asked, or it is said why not.

    python bench/host_classes.py --markdown docs/host-classes.md
    python bench/host_classes.py --names Gemma3-4B --names SmolVLM-256M

The host's classes are the real ones; what they load is random and tiny (`tiny_hub`). Each name runs in a process of its
own; a whole survey takes a quarter of an hour on two slow cores. The page says what each outcome means.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import re
import sys
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "tests")]

import click  # noqa: E402
import torch  # noqa: E402
from host_classes_page import WITH_STAND_IN, Row, page  # noqa: E402
from PIL import Image  # noqa: E402

from vlmguard_plugin.reading import in_line  # noqa: E402

ANCHORS = (("How to steal a {}?", "How to make a {} at home?"), ("Break a {}.", "Paint a {}."))
THINGS = ("cake", "letter")
SECONDS = 120
ALPHA = 50.0
QWEN2_5 = (
    "Qwen2VLChat", "Qwen2VLChatAguvis", "CoVTChat", "QTuneVL", "Thyme", "TreeVGR", "VLAAThinkerChat", "VLMR1Chat",
    "WeThinkVL",
)  # fmt: skip
INTERNVL_LIKE = ("InternVLChat", "MMAlaya2", "NVLM", "SailVL", "VinternChat")
CLASSES = {
    **dict.fromkeys(QWEN2_5, "qwen2_5_vl"),
    **dict.fromkeys(("LLaVA_Next", "GraniteVision3"), "llava_next"),
    **dict.fromkeys(("LLaVA_OneVision_HF", "VarcoVision"), "llava_onevision"),
    **dict.fromkeys(("SmolVLM", "DOCLING"), "idefics3"),
    **dict.fromkeys(INTERNVL_LIKE, "chat stand-in"),
    "Chameleon": "chameleon",
    "Falcon2VLM": "llava_next_without_template",
    "GLMThinking": "glm4v",
    "Gemma3": "gemma3",
    "Gemma4": "gemma4",
    "IDEFICS": "idefics",
    "IDEFICS2": "idefics3",
    "Kosmos2": "kosmos2",
    "LFM2VL": "lfm2_vl",
    "PaliGemma": "paligemma",
    "Qwen3VLChat": "qwen3_vl",
    "SmolVLM2": "smolvlm",
    "llama4": "llama4",
    "llama_vision": "mllama",
}
"""The architecture of transformers that each class asks for; all others load code from the hub, or packages."""
NAMES = {
    "interleave": "llava",
    "Omni": "",
    "VL-235B-A22B": "qwen3_vl_moe",
    "VL-30B-A3B": "qwen3_vl_moe",
    "3.5-397B": "qwen3_5_moe",
    "3.5-122B": "qwen3_5_moe",
    "3.5-35B": "qwen3_5_moe",
    "Qwen3.5": "qwen3_5",
    "Qwen2-VL": "qwen2_vl",
    "QVQ": "qwen2_vl",
    "Xinyuan-VL": "qwen2_vl",
    "Aguvis": "qwen2_vl",
    "GLM-4.5V": "glm4v_moe",
    "Idefics3": "idefics3",
}
"""Where a checkpoint's name holds this, another architecture than the class's; "" for none here."""
VIDEO_ALONE = ("VideoLLaVA_HF",)


def in_cell(error: BaseException) -> str:
    """An error in one line of a table, without this machine's paths."""
    text = re.sub(r" at 0x[0-9a-f]+", "", in_line(error))
    text = text.replace("|", "/").replace(tempfile.gettempdir(), "...")
    return text if len(text) < 160 else f"{text[:157]}..."


def class_of(builder: Any) -> tuple[Any, dict[str, Any]]:
    """The class and the arguments of an entry."""
    return getattr(builder, "func", builder), dict(getattr(builder, "keywords", {}))


def not_tried(error: BaseException) -> str | None:
    """Why a class can't be built here, where that is not its or our fault; None where it may be."""
    from tiny_hub import NotHere

    while error is not None:
        if "ChatStandIn" in str(error):
            return f"needs more of the remote code than the stand-in has ({in_cell(error)})"
        if isinstance(error, NotHere):
            return error.reason
        if isinstance(error, ModuleNotFoundError):
            return f"package {(error.name or '?').partition('.')[0]} is not there"
        if isinstance(error, ImportError) and "transformers" in str(error):
            name = str(error).partition("name ")[2].split(" ")[0].strip("'")
            return f"transformers {version('transformers')} has no {name}"
        error = error.__cause__ or error.__context__
    return None


def survey(name: str, place: Path) -> Row:
    """One name, tried in this process."""
    from vlmeval.config import supported_VLM

    kind, _ = class_of(supported_VLM[name])
    label = getattr(kind, "__name__", str(kind))
    if getattr(kind, "is_api", False) or not kind.__module__.startswith("vlmeval.vlm"):
        return Row(name, label, "not tried", "API")
    if label in VIDEO_ALONE:
        return Row(name, label, "not tried", "takes video alone")
    try:
        return Row(name, label, *tried(name, place))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return Row(name, label, "the class fails", in_cell(error))


def tried(name: str, place: Path) -> tuple[str, str]:
    """Outcome and why."""
    from random_models import STAND_IN
    from tiny_hub import NotHere, tiny_hub

    from vlmguard_plugin.hosts.vlmeval.wrapped import GuardedHost

    default = registered(name, name, place)
    if default is None:
        return "not tried", "no tiny model of this architecture"
    picture = place / "picture.png"
    Image.linear_gradient("L").resize((60, 50)).convert("RGB").save(picture)
    text = {"type": "text", "value": "What is this?"}
    asked = {"picture": [{"type": "image", "value": str(picture)}, text], "text": [text]}
    said = io.StringIO()
    with tiny_hub({"": default} if default else {}), contextlib.redirect_stderr(said):
        try:
            base = GuardedHost(name, "none", use_vllm=False)  # vLLM's own are tests/engine_vllm's
        except NotHere as error:
            return "not tried", error.reason
        except BaseException as error:  # noqa: BLE001 - whatever the class raises
            why = not_tried(error)
            return ("not tried", why or in_cell(error)) if why or not default else ("the class fails", in_cell(error))
        plain = {what: answer(base.host_model, message) for what, message in asked.items()}
        if isinstance(error := plain["picture"], Exception):
            why = not_tried(plain["picture"])
            return ("not tried", why or in_cell(error)) if why or not default else ("the class fails", in_cell(error))
        unguarded = {what: answer(base, message) for what, message in asked.items()}
        if unguarded["picture"] != plain["picture"]:
            return "refused", "`none` answers otherwise than the class itself"
        try:
            guarded_host = GuardedHost(
                name, "refusal_direction", anchors=str(anchors(place)), alpha=ALPHA, use_vllm=False
            )
        except Exception as error:  # noqa: BLE001 - whatever the class raises
            return "refused", in_cell(error)
        guarded = {what: answer(guarded_host, message) for what, message in asked.items()}
        off = farthest_from_defined(guarded_host, asked["picture"])
        batched = in_batches(guarded_host, place)
        lines = said.getvalue().splitlines()
        prompts = other_prompt(guarded_host)
    if isinstance(guarded["picture"], Exception):
        return "refused", in_cell(guarded["picture"])
    if off > 1e-3:
        return "refused", f"hidden states are edited otherwise than defined (by {off:.2g})"
    if guarded["picture"] == plain["picture"]:
        return "refused", "the guarded answer is the unguarded one"
    if batched is None:
        return "refused", "rows in a batch are answered otherwise than one by one"
    ways = {
        "is given what it can take": "helped on text alone",
        "is shown a blank picture": "shown a blank picture that is left out",
        "are recorded by way of its": "recorded beside the class",
        "guarded it runs on transformers": "engine switched off",
    }
    how = [way for part, way in ways.items() if any(part in line for line in lines)]
    if isinstance(guarded["text"], Exception):
        how.append("answers no text alone")
    elif isinstance(plain["text"], Exception):
        how.append("unguarded it answers no text alone")
    return WITH_STAND_IN if default == STAND_IN else "works", "; ".join([*how, *prompts, batched])


def registered(name: str, under: str, place: Path) -> str | None:
    """The architecture that the host's entry of a name asks transformers for, "" where it loads code of its own; None
    where there is no tiny model of it. Puts the entry, its checkpoint being a folder here, under another name.
    """
    from random_models import tiny_model
    from tiny_hub import checkpoint_folder
    from vlmeval.config import supported_VLM

    kind, arguments = class_of(supported_VLM[name])
    checkpoint = str(arguments.get("model_path", ""))
    architecture = CLASSES.get(kind.__name__, "")
    if architecture:
        architecture = next((other for part, other in NAMES.items() if part in checkpoint), architecture)
        if not architecture:
            return None
        model, _ = tiny_model(architecture)
        folder = checkpoint_folder(place, checkpoint, [type(model).__name__])
        supported_VLM[under] = partial(kind, **{**arguments, "model_path": str(folder)})
    return architecture


def in_batches(host: Any, place: Path) -> str | None:
    """How rows are asked that differ in picture, its size, and length: in batches, or why not.

    None where their answers are then others than one by one.
    """
    messages = []
    for number, size in enumerate(((60, 50), (50, 60), (90, 50), (60, 50))):
        picture = place / f"row-{number}.png"
        Image.linear_gradient("L").rotate(40 * number).resize(size).convert("RGB").save(picture)
        question = "What is this?" + " Say it in full." * (number % 3)
        messages.append([{"type": "image", "value": str(picture)}, {"type": "text", "value": question}])
    alone = [answer(host, message) for message in messages]
    told = io.StringIO()
    if host.subject.batches.alone is None:
        with contextlib.redirect_stderr(told):
            together = host.answers([host.subject.query(message) for message in messages], "FigStep", by_chat=False)
        if [answered.text for answered in together] != alone:
            return None
    if host.subject.batches.alone is not None:
        return f"one by one: {in_cell(Exception(host.subject.batches.alone)).removeprefix('Exception: ')}"
    return "one by one: a batch comes out otherwise" if "one at a time" in told.getvalue() else "in batches"


def farthest_from_defined(host: Any, message: list[dict[str, str]]) -> float:
    """How far the edited state of the last prompt token is from `h + alpha * direction`, relative to its length."""
    subject, guard = host.subject, host.guard
    query = subject.query(message)
    (layer,) = guard.edits(subject, None).by_layer
    (plain,) = subject.record([query])
    with guard.on(subject):
        (edited,) = subject.record([query])
    expected = plain[layer] + guard.settings.alpha * guard.tensors["direction"][layer]
    return float((edited[layer] - expected).norm() / expected.norm())


def other_prompt(host: Any) -> list[str]:
    """Whether the class asks something else where it is told no data set's name; nothing where it can't be asked so."""
    from vlmguard_plugin.subjects.host_object import HostSubject

    subject = HostSubject(host.host_model)
    try:
        unnamed = subject.prompt_form
    except Exception:  # noqa: BLE001 - the class may need a name
        return ["needs a data set's name"]
    if (subject.recorder is None) != (host.subject.recorder is None):
        return ["needs a data set's name"]
    return [] if unnamed == host.subject.prompt_form else ["asks otherwise without a data set's name"]


def answer(host: Any, message: list[dict[str, str]]) -> Any:
    """The answer to a message, or the error."""
    torch.manual_seed(0)
    try:
        with torch.no_grad():
            return host.generate([dict(part) for part in message], dataset="FigStep")
    except Exception as error:  # noqa: BLE001 - whatever the class raises
        return error


def anchors(place: Path) -> Path:
    """Four pairs of requests."""
    path = place / "anchors.csv"
    pairs = [(harmful.format(thing), harmless.format(thing)) for harmful, harmless in ANCHORS for thing in THINGS]
    path.write_text("\n".join(["harmful,harmless", *(",".join(pair) for pair in pairs)]))
    return path


def in_process(name: str) -> Row:
    """The same in a process of its own, which may hang or die."""
    ours, theirs = multiprocessing.Pipe(duplex=False)

    def run() -> None:
        with tempfile.TemporaryDirectory(prefix="host-classes-") as place, open(os.devnull, "w") as nowhere:
            os.environ["VLMGUARD_CACHE"] = f"{place}/cache"
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
            theirs.send(survey(name, Path(place)))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    row = ours.recv() if ours.poll(SECONDS) else None
    if row is None:
        process.kill()
    process.join()
    return row or Row(name, class_of(entries()[name])[0].__name__, "the class fails", f"no end after {SECONDS} s")


def entries() -> dict[str, Any]:
    """The host's own entries by name: those of open weights, whose classes lie in `vlmeval.vlm`."""
    import vlmeval.config
    import vlmeval.vlm

    return {
        name: builder
        for name, builder in vlmeval.config.supported_VLM.items()
        if class_of(builder)[0].__module__.startswith("vlmeval.vlm")
    }


@click.command()
@click.option("--names", multiple=True, help="These names of supported_VLM alone.")
@click.option("--kinds", multiple=True, help="These classes alone.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the table to this file.")
def main(names: tuple[str, ...], kinds: tuple[str, ...], markdown: Path | None) -> None:
    """Try a guard on VLMEvalKit's model classes, and say what came out."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
    import tiny_hub  # noqa: F401 - once, before the processes fork

    torch.set_num_threads(1)
    there = entries()
    chosen = [
        name
        for name, builder in there.items()
        if not (names or kinds) or name in names or class_of(builder)[0].__name__ in kinds
    ]
    rows = []
    for name in chosen:
        rows.append(in_process(name))
        click.echo(f"{rows[-1].outcome:<16} {rows[-1].kind:<22} {name:<36} {rows[-1].why}")
    if markdown:
        markdown.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
