"""VLMEvalKit's command line where it would go wrong with a guarded model, refused before anything is loaded."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Callable, Sequence

from vlmguard_plugin.hosts.models import MODELS
from vlmguard_plugin.naming import split_guarded
from vlmguard_plugin.reading import parsed_json
from vlmguard_plugin.runs.vlmevalkit_command import is_clone

CLASSES = ("SafetyRequests", "ExactChoice", "ExactOpen")
"""The data sets' classes (`hosts.vlmeval.datasets`), as --data-config names them."""


def is_hosts_command(words: Sequence[str], interpreters: Sequence[str]) -> bool:
    """Whether a program is VLMEvalKit's own, of the package or of a clone; others have arguments of their own.

    words: sys.argv; under `vlmguard run` it begins with a module's name. interpreters: sys.orig_argv, which alone
    knows the module of `python -m` while its package is imported.
    """
    program = words[0]
    if program == "-m":
        program = interpreters[len(interpreters) - len(words)].removeprefix("-m")
    if program in ("vlmeval", "vlmeval.run"):
        return True
    path = Path(program).absolute()
    return path.name in ("run.py", "__main__.py") and (path.parent.name == "vlmeval" or is_clone(path.parent))


def refuse_aliases(sets: str) -> None:
    """SystemExit for a set of ours under another name: the host writes its answers under the set's own name
    and looks for them under the other (VLMEvalKit e8e78f05).

    sets: what --data-config was given; the host itself says what is wrong with its JSON.
    """
    try:
        entries = parsed_json(sets)
    except ValueError:
        return
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        known = entry.get("dataset", name) if isinstance(entry, dict) else name
        if known != name and entry.get("class") in CLASSES:
            raise SystemExit(
                f"vlmguard: --data-config calls {known} {name}, and the host would look for its answers where they are "
                f"not written; call it {known}"
            )


def check_command(words: Sequence[str], known: Callable[[str], bool]) -> None:
    """SystemExit where the host's command would answer with a guarded model unguarded, or not at all.

    words: of the command line. known: whether a name is a model of the host's own.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--model", nargs="*", default=[])
    # the host takes these shortened too
    parser.add_argument("--base-url", *("--base-url"[:length] for length in range(4, 10)), nargs="?", dest="base_url")
    parser.add_argument("--api-mode", *("--api-mode"[:length] for length in range(7, 10)), nargs="?", const=True)
    parser.add_argument("--data-config", *("--data-config"[:length] for length in range(7, 13)), nargs="?", dest="sets")
    given, _ = parser.parse_known_args(list(words))
    refuse_aliases(given.sets or "")
    for name in given.model:
        guarded = split_guarded(name, lambda model: model in MODELS or known(model)) is not None
        if given.base_url and guarded:
            raise SystemExit(
                f"vlmguard: --base-url {given.base_url} would answer in the place of {name}, unguarded; leave it out, "
                "or guard the model where it is served"
            )
        if given.api_mode and (guarded or name in MODELS):
            raise SystemExit(
                f"vlmguard: {name} answers one batch after the other, and --api-mode asks from many threads; leave "
                "--api-mode out"
            )
