"""Which guard a server says it has: vLLM's with the plugin, or `vlmguard serve`, at the address /vlmguard."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import NamedTuple

from vlmguard_plugin.endpoints.address import EndpointError, endpoint
from vlmguard_plugin.reading import in_line, parsed_json

ADDRESS = "/vlmguard"
MOST_BYTES = 1 << 20
SECONDS = 10


class GuardThere(NamedTuple):
    """fingerprint: of the guard that is on, None for none. alike: whether all of the server's workers say the same."""

    fingerprint: str | None
    alike: bool


def guard_at(url: str) -> GuardThere | None:
    """What a server says. url: its address, with or without /v1. None for one that knows of no guards.

    EndpointError where nobody answers, or not in this form.
    """
    address = endpoint(url)[0].removesuffix("/v1") + ADDRESS
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as reply:
            told = parsed_json(reply.read(MOST_BYTES))
        guard = told["guard"]
        if guard is None:
            return GuardThere(None, True)
        fingerprint = guard.get("fingerprint", guard.get("guard_fingerprint"))
        if not isinstance(fingerprint, (str, type(None))):
            raise TypeError(f"the fingerprint is {fingerprint!r}")
        return GuardThere(fingerprint, told.get("alike", True) is True)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise EndpointError(f"{address} answers with status {error.code}; look into the server's log") from error
    except (OSError, http.client.HTTPException) as error:
        raise EndpointError(f"{address} does not answer ({in_line(error)}); start the server first") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EndpointError(f"{address} does not say which guard is on ({in_line(error)})") from error
