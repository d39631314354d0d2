"""`vlmguard run`: a host's own command with us registered, where the start-up file is not run."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import click

HOSTS = {"vlmeval": "vlmeval.run", "lmms-eval": "lmms_eval", "lm-eval": "lm_eval"}
"""By name, the module that is a host's command."""


@click.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("host", type=click.Choice(list(HOSTS)))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[HOST ARGUMENTS]")
def run_command(host: str, arguments: tuple[str, ...]) -> None:
    """Run a HOST's own command with the guarded models registered.

    It runs in this process and takes the host's own arguments; our data sets are registered too.

    \b
    vlmguard run vlmeval --data FigStep --model llava llava_vlmguard
    vlmguard run lmms-eval --model llava_vlmguard --tasks vlmguard_figstep ...
    torchrun --nproc-per-node=2 -m vlmguard_plugin run lm-eval --model llava-vlmguard ...

    Needed only where Python does not run .pth files: under `python -S`, or from a `pip install --target` folder. A git
    clone of VLMEvalKit is found as `vlmguard sweep` finds it.
    """
    from vlmguard_plugin.hosts import autoload
    from vlmguard_plugin.runs.vlmevalkit_command import host_command

    if autoload.switched_off():
        raise click.ClickException("VLMGUARD_DISABLE keeps us out of the hosts; unset it, or start the host by itself")
    *_, command = host_command() if host == "vlmeval" else (HOSTS[host],)
    sys.argv = [command, *arguments]
    try:
        if command.endswith(".py"):
            sys.path.insert(0, str(Path(command).parent))
            runpy.run_path(command, run_name="__main__")
        else:
            runpy.run_module(command, run_name="__main__", alter_sys=True)
    except Exception:  # noqa: BLE001 - the host's own, to be shown as it is and not as one of ours
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
