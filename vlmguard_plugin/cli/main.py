"""The console command `vlmguard`.

Each command is a file of this folder, which parses, calls and prints. What is heavy (torch, pandas, the hosts) a
command imports when it runs, so that every --help is there at once.
"""

from __future__ import annotations

import errno
from typing import Any

import click

from vlmguard_plugin.cli.compare import compare_command
from vlmguard_plugin.cli.data import data_group
from vlmguard_plugin.cli.demo import demo_command
from vlmguard_plugin.cli.doctor import doctor_command
from vlmguard_plugin.cli.env import env_command
from vlmguard_plugin.cli.fit import fit_command
from vlmguard_plugin.cli.inspect import inspect_command
from vlmguard_plugin.cli.judge import judge_command
from vlmguard_plugin.cli.leaderboard import leaderboard_command
from vlmguard_plugin.cli.list import list_command
from vlmguard_plugin.cli.perplexity import perplexity_command
from vlmguard_plugin.cli.pull import pull_command
from vlmguard_plugin.cli.push import push_command
from vlmguard_plugin.cli.run import run_command
from vlmguard_plugin.cli.serve import serve_command
from vlmguard_plugin.cli.sweep import sweep_command
from vlmguard_plugin.cli.tasks import tasks_command
from vlmguard_plugin.reading import visible

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
COMMANDS = (
    compare_command,
    data_group,
    demo_command,
    doctor_command,
    env_command,
    fit_command,
    inspect_command,
    judge_command,
    leaderboard_command,
    list_command,
    perplexity_command,
    pull_command,
    push_command,
    run_command,
    serve_command,
    sweep_command,
    tasks_command,
)


class Commands(click.Group):
    """Errors a user can mend are shown as one line; a traceback is for bugs."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except ModuleNotFoundError as error:
            raise click.ClickException(shown(with_extra(error))) from error
        except BrokenPipeError:
            raise  # whoever read what is printed has seen enough; click ends quietly
        except OSError as error:
            raise click.ClickException(shown(about_file(error))) from error
        except (ValueError, ImportError) as error:
            raise click.ClickException(shown(str(error))) from error


def shown(message: str) -> str:
    """A message, which may quote what others have written, with nothing in it that does something in a terminal."""
    return "\n".join(map(visible, message.split("\n")))


def with_extra(error: ModuleNotFoundError) -> str:
    """What to install for a package that is not there."""
    if "pip install" in str(error):
        return str(error)
    missing = (error.name or "").partition(".")[0]
    of_board = ("jinja2", "markupsafe", "numpy", "pandas", "python_calamine", "scipy", "statsmodels")
    extra = "[leaderboard]" if missing in of_board else ""
    return f"{missing or error} is not installed; pip install 'vlmguard_plugin{extra}'"


def about_file(error: OSError) -> str:
    """A file that can't be read or written: its name and why. Our own errors say what to do already."""
    named = f" for {str(error.filename)!r}" if error.filename is not None else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"there is no space left{named}; make some, or name a place on another disk"
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{str(error.filename)!r} can't be used ({error.strerror}); name another file or folder"


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(package_name="vlmguard_plugin")
def main() -> None:
    """Inference-time safety guards for vision-language models.

    \b
    A first session:
      vlmguard demo                                what the guards do, on a small real model
      vlmguard doctor                              is everything installed that the hosts need
      vlmguard list                                the guards, models and data sets there are
      vlmguard data prepare FigStep --source DIR   the authors' files -> the host's $LMUData
      python -m vlmeval.run --data FigStep --model llava llava_vlmguard llava_cmrm
      vlmguard leaderboard outputs                 rates, intervals, paired differences
      vlmguard leaderboard outputs --html board.html
      vlmguard compare llava llava_cmrm --in outputs
      vlmguard sweep llava cmrm ...                a setting's curve (see its --help)
      vlmguard judge outputs --judge rules --judge llama_guard_3=DIR
      vlmguard fit cmrm --model llava --calibrate --out my-guard
      vlmguard inspect my-guard --plot my-guard.png
      vlmguard push my-guard hf://somebody/my-guard
      vlmguard serve llava --guard vlm_guard       for any OpenAI-compatible client
    """


for command in COMMANDS:
    main.add_command(command)
