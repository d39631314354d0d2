"""A guard model at an OpenAI-compatible endpoint: /moderations, or /chat/completions in one of the forms.

Needs the openai package (extra judge; VLMEvalKit brings it along).
"""

from __future__ import annotations

import base64
import io
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Sequence

from vlmguard_plugin import environment
from vlmguard_plugin.endpoints.address import OFFICIAL, azure_address, endpoint, on_azure
from vlmguard_plugin.endpoints.replies import bound, cause, masked, status, words
from vlmguard_plugin.guards.core.moderation import CheckCosts, Exchange, ModerationFailed, read_reply, worded
from vlmguard_plugin.query import BlankImage, ImageLike, read_image
from vlmguard_plugin.reading import parsed_json

MODERATIONS = "/moderations"
MAX_TOKENS = 64
"""Bound on what a guard model writes, in tokens; a verdict and its categories are some ten."""


LOST_AFTER = 5
"""Connection failures in a row after which a check is tried once, and for LOST_TIMEOUT seconds at most."""
LOST_TIMEOUT = 5.0


class EndpointModerator:
    """model: the name that the endpoint knows it by. form: None for /moderations, else one of FORMS.

    base_url: by default $VLMGUARD_MODERATOR_BASE_URL, $OPENAI_API_BASE, $OPENAI_BASE_URL, else OpenAI's own. The key
    is $VLMGUARD_MODERATOR_KEY or $OPENAI_API_KEY, never a setting. pictures: whether it is shown the request's.
    timeout: seconds without a sign of the endpoint; a whole reply may take twice as long. retry: further tries after a
    failure that may pass. workers: requests at a time. wording: in place of ours.
    """

    def __init__(
        self,
        model: str,
        form: str | None,
        base_url: str | None,
        pictures: bool,
        timeout: float,
        retry: int,
        workers: int,
        wording: str | None,
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise ImportError(
                f"guard model {model!r} at an endpoint needs the openai package: pip install 'vlmguard_plugin[judge]', "
                "or pip install openai"
            ) from error
        self._key = environment.MODERATOR_KEY.value() or os.environ.get("OPENAI_API_KEY")
        url = given_address(base_url)
        if not url and not self._key:
            raise ValueError(
                f"guard model {model!r}: there is no endpoint to ask; give base_url (or "
                f"${environment.MODERATOR_BASE_URL.name}) for a server of your own, or a key "
                f"(${environment.MODERATOR_KEY.name} or $OPENAI_API_KEY) for OpenAI's"
            )
        address, query = endpoint(without_ending(url or OFFICIAL))
        is_azure = on_azure(address, query)
        if is_azure:
            address, query = azure_address(address, query, model)
        self.model, self.form, self.pictures, self.wording, self.workers = model, form, pictures, wording, workers
        self.costs = CheckCosts()
        self.lost = 0
        """Connection failures since the last reply."""
        self._once = {"max_retries": 0, "timeout": min(timeout, LOST_TIMEOUT)}
        self._openai = openai
        self._client = openai.OpenAI(
            api_key=self._key or "none",
            base_url=address,
            default_query=query,
            timeout=timeout,
            max_retries=retry,
            default_headers={
                "Accept-Encoding": "identity",
                **({"api-key": self._key} if is_azure and self._key else {}),
            },
            http_client=openai.DefaultHttpxClient(
                event_hooks={"response": [partial(bound, seconds=2 * timeout)]}, follow_redirects=False
            ),
        )

    def unsafe(self, exchanges: Sequence[Exchange]) -> list[bool]:
        """Of each exchange, whether the endpoint's model calls it unsafe; ModerationFailed for the first that fails."""
        with ThreadPoolExecutor(max_workers=self.workers) as pool:
            return list(pool.map(self.is_unsafe, exchanges))

    def is_unsafe(self, exchange: Exchange) -> bool:
        """One exchange's verdict."""
        errors = self._openai
        try:
            images = [data_url(image) for image in exchange.images] if self.pictures else []
        except ValueError as error:
            raise self.failed(str(error)) from error
        try:
            body = parsed_json(self.asked(exchange, images).http_response.content)
        except errors.APIConnectionError as error:
            self.lost += 1
            kind = "timed out" if isinstance(error, errors.APITimeoutError) else f"was lost ({cause(error)})"
            raise self.failed(f"the connection to the endpoint {kind}") from error
        except errors.APIStatusError as error:
            self.lost = 0
            said = words(error.body, self._key)
            raise self.failed(f"the endpoint says {status(error.status_code)}{said}") from error
        except (errors.OpenAIError, OSError) as error:
            raise self.failed(f"the request failed ({cause(error)})") from error
        except UnicodeEncodeError as error:
            raise self.failed("the request or its answer holds half a character (a lone surrogate)") from error
        except ValueError as error:
            raise self.failed("the endpoint's reply is no JSON") from error
        self.lost = 0
        try:
            verdict = flagged(body) if self.form is None else read_reply(self.form, exchange, content_of(body))
        except ModerationFailed as error:
            raise self.failed(masked(str(error), self._key)) from error
        self.costs.add(0, tokens_of(body) if self.form is not None else None)
        return verdict

    def asked(self, exchange: Exchange, images: Sequence[str]) -> Any:
        """The endpoint's raw reply on an exchange. images: as data_url has them."""
        self.costs.add(1, 0)
        client = self._client.with_options(**self._once) if self.lost >= LOST_AFTER else self._client
        if self.form is None:
            parts = [{"type": "image_url", "image_url": {"url": url}} for url in images]
            shown: Any = [{"type": "text", "text": exchange.checked}, *parts] if parts else exchange.checked
            return client.moderations.with_raw_response.create(model=self.model, input=shown)
        messages: list[Any] = [
            {"role": role, "content": words_} for role, words_ in worded(self.form, exchange, self.wording)
        ]
        if images:
            last = max(index for index, message in enumerate(messages) if message["role"] == "user")
            parts = [{"type": "image_url", "image_url": {"url": url}} for url in images]
            messages[last]["content"] = [*parts, {"type": "text", "text": messages[last]["content"]}]
        return client.chat.completions.with_raw_response.create(
            model=self.model, messages=messages, temperature=0, max_tokens=MAX_TOKENS
        )

    def failed(self, why: str) -> ModerationFailed:
        """The one line on a check that failed."""
        return ModerationFailed(f"guard model {self.model!r}: {why}; the request is not answered, as nobody checked it")


def given_address(base_url: str | None) -> str | None:
    """The address that settings or the environment name; None for none."""
    return (
        base_url
        or environment.MODERATOR_BASE_URL.value()
        or os.environ.get("OPENAI_API_BASE")
        or os.environ.get("OPENAI_BASE_URL")
    )


def without_ending(url: str) -> str:
    """An address without /moderations at its end."""
    address, mark, query = url.strip().partition("?")
    return address.rstrip("/").removesuffix(MODERATIONS) + mark + query


def flagged(body: Any) -> bool:
    """Whether a reply of /moderations says that its one input is flagged."""
    try:
        (result,) = body["results"]
        verdict = result["flagged"]
    except (KeyError, TypeError, ValueError) as error:
        raise ModerationFailed("its reply is no moderation with one result") from error
    if not isinstance(verdict, bool):
        raise ModerationFailed(f"its reply says flagged is {verdict!r:.40}, which is neither true nor false")
    return verdict


def content_of(body: Any) -> str:
    """The model's words in a chat completion."""
    try:
        content = body["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise ModerationFailed("its reply is no chat completion with a choice") from error
    if not isinstance(content, str):
        raise ModerationFailed("its reply holds no words")
    return content


def tokens_of(body: Any) -> int | None:
    """Tokens read and written, as a chat completion says; None where it does not."""
    usage = body.get("usage") if isinstance(body, dict) else None
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    return total if type(total) is int and total >= 0 else None


def data_url(image: ImageLike) -> str:
    """A picture as the endpoint takes it: PNG, in its address."""
    if isinstance(image, BlankImage):
        raise ValueError("a guard model can't be shown a picture that the subject draws (give pictures=False)")
    buffer = io.BytesIO()
    read_image(image).save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
