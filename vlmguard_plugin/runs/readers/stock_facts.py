"""What results of lmms-eval and lm-evaluation-harness say of a run by themselves: model, arguments, prompting."""

from __future__ import annotations

import re
from typing import Any, Mapping

from vlmguard_plugin.runs.facts import RunFacts, digest_of, folder_name
from vlmguard_plugin.runs.rows import text

ELSEWHERE = re.compile(
    r"^(?:device|device_map\w*|batch_size|max_batch_size|parallelize|\w*parallel_size|num_processes|cache_dir"
    r"|gpu_memory_utilization|\w*(?:secret|password|auth|api_?key|timeout|retries|concurrent)\w*|(?:\w+_)?(?:token|key|url))$",
    re.IGNORECASE,
)
"""Arguments that don't change what a model says, or that are nobody's business."""
SHOWN = ("revision", "dtype", "subfolder", "load_in_4bit", "load_in_8bit", "attn_implementation", "conv_template")
"""Arguments that are shown as they are, beside numbers and truth values; of others a digest tells them apart."""
NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?|(?i:true|false)")


def checkpoint_of(config: Mapping[str, Any]) -> str:
    """The checkpoint of a stock model, from its arguments: hub name, or the end of a folder's path; "" for none."""
    checkpoint = text(named_arguments(config.get("model_args")).get("pretrained"))
    is_folder = checkpoint.startswith(("/", ".", "~")) or "\\" in checkpoint or checkpoint.count("/") > 1
    return folder_name(checkpoint) if is_folder else checkpoint


def named_arguments(arguments: object) -> dict[str, Any]:
    """Arguments by name, which the hosts write as a dict or as "name=value,name=value"; none where they are neither."""
    if isinstance(arguments, str):
        arguments = dict(part.partition("=")[::2] for part in arguments.split(",") if part)
    return {str(name): value for name, value in arguments.items()} if isinstance(arguments, dict) else {}


def facts_of_stock_model(config: Mapping[str, Any], host: str, version: str) -> RunFacts:
    """What the host's own file says of a model that is none of ours; secrets and places stay out, or in a digest."""
    arguments = {
        name: value for name, value in named_arguments(config.get("model_args")).items() if not ELSEWHERE.search(name)
    }
    sha = text(config.get("model_sha"))
    shown = {name: value for name, value in arguments.items() if name in SHOWN or NUMBER.fullmatch(text(value))}
    seed = config.get("torch_seed")
    return RunFacts(
        host=host,
        host_version=version,
        model=text(config.get("model")),
        checkpoint=checkpoint_of(config),
        arguments=digest_of([{name: text(value) for name, value in arguments.items()}, sha]),
        settings={**shown, **({"model_sha": sha[:8]} if sha else {})},
        generation=named_arguments(config.get("gen_kwargs")),
        seed=seed if type(seed) is int else None,
    )


def prompting_of(content: Mapping[str, Any]) -> dict[str, str]:
    """How a run has put its questions, as far as its file says: digests of the template and the system prompt."""
    named = {name: text(content.get(f"{name}_sha"))[:8] for name in ("chat_template", "system_instruction")}
    return {name: digest for name, digest in named.items() if digest}
