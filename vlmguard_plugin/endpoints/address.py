"""Where an endpoint is asked: OpenAI's and others' base URLs, and Azure's with deployments and versions."""

from __future__ import annotations

import os
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit


class EndpointError(ValueError):
    """An endpoint's address is none."""


OFFICIAL = "https://api.openai.com/v1"
SUFFIX = "/chat/completions"
AZURE_HOSTS = (".azure.com", ".azure.us", ".azure.cn", ".azure-api.net")
DEPLOYMENTS = "/openai/deployments/"
VERSION = "api-version"


def endpoint(url: str) -> tuple[str, dict[str, str]]:
    """(base address for the client, query) of a URL with or without /chat/completions and /v1; "OFFICIAL" is OpenAI's.

    Raises EndpointError for what is no http address. Its text may hold a password and is not quoted.
    """
    parts = urlsplit(OFFICIAL if url.strip() == "OFFICIAL" else url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EndpointError("the base URL is no http:// or https:// address; give one such as http://HOST:PORT/v1")
    if parts.username or parts.password:
        raise EndpointError("the base URL holds a user name or password; give a key (or $OPENAI_API_KEY) instead")
    path = parts.path.rstrip("/")
    if path.endswith(SUFFIX):
        path = path[: -len(SUFFIX)]
    elif not path and not on_azure(url, {}):
        path = "/v1"
    return urlunsplit((parts.scheme, parts.netloc, path, "", "")), dict(parse_qsl(parts.query))


def on_azure(address: str, query: dict[str, str]) -> bool:
    """Whether an endpoint is asked in Azure's way, which wants the key in a header of its own."""
    parts = urlsplit(address.strip())
    return (parts.hostname or "").endswith(AZURE_HOSTS) or DEPLOYMENTS in f"{parts.path}/" or VERSION in query


def azure_address(address: str, query: dict[str, str], model: str) -> tuple[str, dict[str, str]]:
    """The same with what Azure wants: a deployment, by default one called as the model, and a version of its interface.

    The version is the URL's own, else $OPENAI_API_VERSION; without one a bare host is asked at /openai/v1, where Azure
    wants none, and EndpointError is raised for a deployment.
    """
    parts = urlsplit(address)
    version = query.get(VERSION) or os.environ.get("OPENAI_API_VERSION", "")
    path = parts.path.rstrip("/")
    if path in ("", "/openai", "/openai/deployments"):
        path = f"{DEPLOYMENTS}{quote(model, safe='')}" if version else "/openai/v1"
    if DEPLOYMENTS in path:
        if not version:
            raise EndpointError(
                "the base URL names a deployment on Azure and no version; add ?api-version=... to it, or set "
                "$OPENAI_API_VERSION"
            )
        query = {**query, VERSION: version}
    return urlunsplit((parts.scheme, parts.netloc, path, "", "")), query


def served_as(address: str, model: str) -> str:
    """What answers under an address: the model, and the deployment where it is called otherwise."""
    _, named, deployment = urlsplit(address).path.partition(DEPLOYMENTS)
    deployment = unquote(deployment.partition("/")[0])
    return f"{model}/{deployment}" if named and deployment != model else model
