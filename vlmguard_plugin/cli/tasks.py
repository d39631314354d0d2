"""`vlmguard tasks`: where a host's task files lie."""

from __future__ import annotations

import click


@click.command("tasks")
@click.argument("host", metavar="lmms_eval|lm_eval")
def tasks_command(host: str) -> None:
    """Print the folder of a host's task files.

    It goes to the host's option --include_path.

    \b
    lmms-eval --tasks vlmguard_figstep_tiny --include_path "$(vlmguard tasks lmms_eval)" --model ...
    lm_eval --tasks vlmguard_figstep_tiny --include_path "$(vlmguard tasks lm_eval)" --model hf-multimodal ...

    A task is named vlmguard_ and the data set's name in lower case. `vlmguard data prepare` writes the data set first.
    """
    from vlmguard_plugin.hosts.tasks import task_folder

    click.echo(task_folder(host))
