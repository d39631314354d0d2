"""Programs run to their end: each in an interpreter of its own, or forked from one that has the libraries loaded."""

import atexit
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

LIBRARIES = ["torch", "torchvision", "transformers", "openai", "nltk", "pandas", "scipy.stats", "matplotlib.pyplot"]
"""What VLMEvalKit imports of others, most of its start's ten seconds; none of it knows of a host or of us."""

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(LIBRARIES)


def environment_with(changes):
    """This process's environment with changes; None takes a variable out."""
    joined = {**os.environ, **(changes or {})}
    return {name: value for name, value in joined.items() if value is not None}


def python(*arguments, environment=None, cwd=None, check=True, program=sys.executable):
    """Run a program and return it finished; its output goes into the failure."""
    done = subprocess.run(
        [str(program), *map(str, arguments)],
        env=environment_with(environment),
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def forked_python(*arguments, environment=None, cwd=None, check=True, processes=1):
    """As `python`, in a process with LIBRARIES loaded already; the hosts and we are imported anew in each.

    What an interpreter reads at its start (PYTHONHASHSEED), or one of LIBRARIES when it is imported (HF_HOME,
    MPLCONFIGDIR), is this process's own, whatever `environment` says, but for HF_HUB_OFFLINE, which is 1; PYTHONPATH
    is heeded. processes: so many side by side, told of each other as torchrun tells its own, and ended when one fails.
    """
    with mock.patch.dict(os.environ, HF_HUB_OFFLINE="1"):
        forkserver.ensure_running()
    words = [str(word) for word in arguments]
    port = free_port()
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        started = []
        for rank in range(processes):
            own = environment_with({**(environment or {}), **(as_rank(rank, processes, port) if processes > 1 else {})})
            started.append(FORKS.Process(target=run_as_main, args=(words, own, str(cwd or os.getcwd()), out, err)))
            started[-1].start()
        returncode = ended(started)
        printed = [file.read_text(errors="replace") if file.is_file() else "" for file in (out, err)]
    done = subprocess.CompletedProcess(words, returncode, *printed)
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def as_rank(rank, processes, port):
    """What torchrun puts into the environment of one of its processes on one machine."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    return {name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def ended(processes):
    """0 when all have ended well; else what the first that failed ended with, and the others are ended."""
    running = {process.sentinel: process for process in processes}
    failed = 0
    while running:
        for sentinel in wait(list(running)):
            process = running.pop(sentinel)
            process.join()
            if process.exitcode and not failed:
                failed = process.exitcode
                for other in running.values():
                    other.terminate()
    return failed


def run_as_main(words, environment, cwd, out, err):
    """In the fork: what `python` does with words that begin with "-m" MODULE, "-c" CODE, or a script."""
    for file, number in ((out, 1), (err, 2)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    option, rest = (words[0], words[1:]) if words[0] in ("-m", "-c") else (None, words)
    searched = [str(Path(rest[0]).resolve().parent) if option is None else cwd]
    sys.path[:0] = searched + [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv = [option or rest[0], *rest[1:]]
    sys.orig_argv = [sys.executable, *words]
    try:
        if option == "-c":
            exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
        elif option == "-m":
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(rest[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # a fork leaves them out
