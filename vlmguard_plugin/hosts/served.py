"""Whether a server has the guard that it is meant to have, before anything is measured on it."""

from __future__ import annotations

from typing import Iterator

from vlmguard_plugin.endpoints.address import EndpointError
from vlmguard_plugin.endpoints.guard_there import guard_at
from vlmguard_plugin.guards.core.registry import load_guard
from vlmguard_plugin.hosts.finding import Finding


def server_findings(url: str, folder: str | None = None) -> Iterator[Finding]:
    """What a server says of its guard. url: its address. folder: of the guard that it is to have; None for any.

    FileNotFoundError and DamagedGuard where there is no guard in the folder.
    """
    wanted = None if folder is None else load_guard(folder).fingerprint
    try:
        there = guard_at(url)
    except EndpointError as error:
        yield Finding("bad", str(error))
        return
    if there is None:
        yield Finding(
            "bad",
            f"{url} knows of no guards, so what it answers is unguarded",
            "start vLLM where vlmguard_plugin is installed, with --additional-config and without a VLLM_PLUGINS that "
            "leaves vlmguard out",
        )
    elif there.fingerprint is None:
        yield Finding("bad", f"{url} has no guard on", "start it with one")
    elif not there.alike:
        yield Finding("bad", f"{url}: its workers have different guards", "start it again")
    elif wanted not in (None, there.fingerprint):
        yield Finding("bad", f"{url} has {there.fingerprint}, not {wanted} of {folder}", "start it with that folder")
    else:
        yield Finding("good", f"{url} has {there.fingerprint}")
