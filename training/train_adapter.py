"""Train a demo VLM's vision adapter (vision tower and projector) for its frozen language model.

    python -m training.train_adapter captions --minutes 40 --out captions.safetensors
    python -m training.train_adapter answers --init captions.safetensors --minutes 30 --out answers.safetensors
    python -m training.train_adapter words --init answers.safetensors --minutes 10 --out words.safetensors

--model names the demo VLM; demo_vlm is the default. --init goes on from an adapter of the same model, --init-tower
begins with the vision tower of another model's adapter.

captions: the language model takes no part but for its embedding matrix. The 17 image tokens of a picture learn
    to be the word embeddings of its caption, padded with full stops.
projector: the same with the vision tower held as it is, for one that was trained already (--init-tower).
answers: through the frozen language model. Half of every step are visual questions, open and multiple choice;
    the other half ordinary harmless instructions beside unrelated pictures, where the target is what the model
    itself answers to the instruction as text. Without that half every prompt with a picture gets a description.
    The caption loss goes on beside them, so that the tower keeps seeing while the model learns to answer.
words: from an answers adapter, without the language model again. The image tokens that stand for a written word
    become that word's embeddings; all other image tokens, and those of all other pictures, are held where they are.
    A model copies a word whose embedding it gets; with a token that is merely nearest to it, it answers with a word
    of near meaning or spelling.

No harmful request, no refusal and none of the anchors that guards are fitted on takes part in any. Two CPU
cores are enough; a GPU is taken where there is one. The learning rate follows the clock, so a faster machine sees
more pictures in the same minutes.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Iterator

import torch
from safetensors.torch import save
from tqdm import tqdm
from transformers import LlavaForConditionalGeneration

from training.answers import answers_step
from training.captions import captions_step, projector_step
from training.stage import Stage
from training.words import words_step
from vlmguard_plugin.demo.build import (
    adapter_modules,
    adapter_state,
    fitting_adapter,
    load_adapter,
    load_parts,
    read_adapter,
)
from vlmguard_plugin.demo.questions import QUESTION_KINDS
from vlmguard_plugin.demo.vlms import DEMO_VLMS
from vlmguard_plugin.demo.weights import fetch_language_model
from vlmguard_plugin.files import check_writable, write_whole
from vlmguard_plugin.subjects.devices import default_dtype

CHECKPOINT_SECONDS = 180
STAGES = {
    "captions": Stage(batch=96, rate=8e-4, pool=40_000),
    "projector": Stage(batch=96, rate=1e-3, pool=20_000),
    "answers": Stage(batch=24, rate=3e-4, pool=96),
    "words": Stage(batch=96, rate=5e-4, pool=60_000),
}
STEPS = {"captions": captions_step, "projector": projector_step, "answers": answers_step, "words": words_step}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--model", choices=DEMO_VLMS, default="demo_vlm")
    parser.add_argument("--init", type=Path, help="adapter to start from; without it the adapter starts untrained")
    parser.add_argument("--init-tower", type=Path, help="adapter of another model, whose vision tower to start from")
    parser.add_argument("--pool", type=int, help="captioned pictures drawn beforehand, instead of the stage's own")
    parser.add_argument("--rate", type=float, help="peak learning rate, instead of the stage's own")
    parser.add_argument(
        "--question-weights",
        type=int,
        nargs=len(QUESTION_KINDS),
        metavar="N",
        help=f"of answers: how often each kind of question is asked: {', '.join(QUESTION_KINDS)}",
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="how long to train, pictures and targets apart")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mean-with", type=Path, help="at the end, save the mean of the weights and this adapter's")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default: the GPU, where there is one"
    )
    parser.add_argument("--out", type=Path, required=True, help="adapter file to write, also as a checkpoint")
    options = parser.parse_args(arguments)
    if options.stage == "words" and not options.init:
        parser.error("the words stage goes on from an adapter; name it with --init")
    if options.stage == "projector" and not (options.init or options.init_tower):
        parser.error("the projector stage holds a trained vision tower; name it with --init-tower, or --init")
    if not 0 < options.minutes < math.inf:
        parser.error(f"--minutes is {options.minutes}; give a positive number")
    if options.rate is not None and not 0 < options.rate < 1:
        parser.error(f"--rate is {options.rate}; give a number between 0 and 1, 0.0003 for instance")
    if options.question_weights and (min(options.question_weights) < 0 or not any(options.question_weights)):
        parser.error("--question-weights has a negative number, or zeros alone")
    if options.question_weights and options.stage != "answers":
        parser.error(f"--question-weights belongs to answers; {options.stage} asks no questions")
    if options.pool is not None and options.pool < 1:
        parser.error(f"--pool is {options.pool}; give a positive number of pictures")
    try:
        check_device(options.device)
        check_out(options.out)
        for adapter in (options.init, options.init_tower, options.mean_with):
            if adapter:
                read_adapter(adapter)
    except (ValueError, OSError) as error:
        parser.error(str(error))

    vlm = DEMO_VLMS[options.model]
    model, tokenizer = load_parts(fetch_language_model(vlm.language), vlm.language, vlm.tower)
    model.to(options.device, default_dtype(options.device, torch.bfloat16)).requires_grad_(False)
    for module in adapter_modules(model).values():
        module.float().requires_grad_(True)
    model.model.vision_tower.set_attn_implementation("eager")  # the quickest for so few image tokens
    history = {"model": options.model, "stage": options.stage, "seed": str(options.seed)}
    history |= {"minutes": str(options.minutes), "init": "untrained"}
    if options.rate:
        history["rate"] = str(options.rate)
    if options.question_weights:
        history["question_weights"] = " ".join(map(str, options.question_weights))
    try:
        if options.init:
            load_adapter(model, options.init)
            history["init"] = hashlib.sha256(options.init.read_bytes()).hexdigest()
        if options.init_tower:
            load_tower(model, options.init_tower)
            history["init_tower"] = hashlib.sha256(options.init_tower.read_bytes()).hexdigest()
        if options.mean_with:
            fitting_adapter(model, options.mean_with)  # else the run would be lost at its end
    except ValueError as error:
        parser.error(str(error))

    torch.manual_seed(options.seed)
    stage = STAGES[options.stage]
    if options.pool:
        stage = replace(stage, pool=options.pool)
    if options.question_weights:
        stage = replace(stage, question_weights=tuple(options.question_weights))
    if options.rate:
        stage = replace(stage, rate=options.rate)
    losses = STEPS[options.stage](model, tokenizer, stage, options.seed)
    fit(model, losses, stage, options, history)


def load_tower(model: LlavaForConditionalGeneration, path: Path) -> None:
    """Take the vision tower's weights from an adapter of another model; ValueError where it has not this tower."""
    saved = read_adapter(path)
    tower = {name: value for name, value in adapter_state(model).items() if name.startswith("vision_tower.")}
    wrong = sorted(name for name, value in tower.items() if name not in saved or saved[name].shape != value.shape)
    if wrong:
        raise ValueError(f"adapter {path} has another vision tower: {wrong[0]!r} is missing or has another shape")
    with torch.no_grad():
        for name, value in tower.items():
            value.copy_(saved[name])


def check_device(named: str) -> None:
    """ValueError for a device that can't be computed on here."""
    try:
        torch.zeros(1, device=named).item()
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for the device
        first = str(error).partition("\n")[0]
        raise ValueError(f"--device {named!r} can't be used here ({first}); take cpu, or cuda with a GPU") from error


def check_out(path: Path) -> None:
    """OSError where the adapter can't be written, before it is trained."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "--out is to name a file, this is a folder", str(path))
    check_writable(path)


def fit(
    model: LlavaForConditionalGeneration,
    losses: Iterator[torch.Tensor],
    stage: Stage,
    options: argparse.Namespace,
    history: dict[str, str],
) -> None:
    """AdamW on the adapter until the time is up; losses: gives the next step's loss with its graph.

    The adapter's weights are float32; where the language model is bfloat16, the products are too. SystemExit where the
    loss is no number any more; the last checkpoint stays.
    """

    def next_loss() -> torch.Tensor:
        of_half = model.lm_head.weight.dtype == torch.bfloat16
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=of_half):
            loss = next(losses)
        if not math.isfinite(loss.item()):
            raise SystemExit(f"the loss is {loss.item()} after {steps} steps; give a lower --rate, or another --init")
        return loss

    parameters = [value for module in adapter_modules(model).values() for value in module.parameters()]
    parameters = [value for value in parameters if value.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=stage.rate, weight_decay=0.01, betas=(0.9, 0.98))
    steps, average = 0, None
    loss = next_loss()  # drawing the pool of pictures is not counted as training
    start = saved = time.monotonic()
    with tqdm(total=round(options.minutes * 60), unit="s", desc=f"{options.stage} adapter") as bar:
        while (elapsed := time.monotonic() - start) < options.minutes * 60:
            rate = stage.rate * learning_rate_factor(elapsed / (options.minutes * 60), steps)
            for group in optimiser.param_groups:
                group["lr"] = rate
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            steps += 1
            average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
            bar.n = round(elapsed)
            bar.set_postfix(loss=f"{average:.3f}", steps=steps)
            loss = next_loss()
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                save_adapter(model, options.out, history | {"steps": str(steps), "finished": "no"})
                saved = time.monotonic()
    if options.mean_with:
        average_with(model, options.mean_with)
        history["mean_with"] = hashlib.sha256(options.mean_with.read_bytes()).hexdigest()
    save_adapter(model, options.out, history | {"steps": str(steps), "finished": "yes"})


def average_with(model: LlavaForConditionalGeneration, path: Path) -> None:
    """Replace the adapter's weights by their mean with a saved adapter's, an earlier state of the same run.

    What a learning rate that still falls leaves behind, two such states even out.
    """
    trained = {name: value.detach().clone() for name, value in adapter_state(model).items()}
    load_adapter(model, path)
    with torch.no_grad():
        for name, value in adapter_state(model).items():
            value.copy_((value + trained[name]) / 2)


def learning_rate_factor(progress: float, steps: int) -> float:
    """Half a cosine from 1 to 0.02 over the run, after 20 steps of warming up. progress: 0 to 1."""
    return min(1.0, (steps + 1) / 20) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


def save_adapter(model: LlavaForConditionalGeneration, path: Path, history: dict[str, str]) -> None:
    """Write the adapter in float16, under names that no version of transformers changes, with its history."""
    weights = {name: value.detach().half().contiguous() for name, value in adapter_state(model).items()}
    write_whole(path, save(weights, metadata={"format": "pt"} | history))


if __name__ == "__main__":
    main()
