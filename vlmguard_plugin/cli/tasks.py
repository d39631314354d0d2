"""`vlmguard tasks`: where a host's task files lie."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("tasks")
@click.argument("host", metavar="lmms_eval|lm_eval")
@click.argument("datasets", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for task files of DATASETS.")
def tasks_command(host: str, datasets: tuple[str, ...], out: Path | None) -> None:
    """Print the folder of a host's task files.

    It goes to the host's option --include_path.

    \b
    lmms-eval --tasks vlmguard_figstep_tiny --include_path "$(vlmguard tasks lmms_eval)" --model ...
    lm_eval --tasks vlmguard_figstep_tiny --include_path "$(vlmguard tasks lm_eval)" --model hf-multimodal ...

    Of sets of your own, and of any condition that is not listed, it writes task files into a folder:

    \b
    vlmguard tasks lm_eval Requests_mine_typography AdvBench_picture+early12 --out my_tasks
    lm_eval --tasks vlmguard_requests_mine_typography --include_path my_tasks ...

    A task is named vlmguard_ and the data set's name in lower case. `vlmguard data prepare` writes the data set first.
    """
    from vlmguard_plugin.hosts.tasks import own_task_file, task_folder

    if bool(datasets) != bool(out):
        raise click.UsageError("data sets and --out FOLDER go together")
    if out is None:
        click.echo(task_folder(host))
        return
    for name in datasets:
        click.echo(own_task_file(host, name, out))
