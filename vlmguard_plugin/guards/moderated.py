"""A guard model beside the subject: what it calls unsafe is refused. Is steering better than a filter?

Llama Guard (arXiv 2312.06674), WildGuard (2406.18495), OpenAI's moderation, any classifier: before the subject answers,
behind its answer, or both.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Sequence

from vlmguard_plugin.endpoints.address import VERSION, endpoint
from vlmguard_plugin.files import folder_sha256
from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.gates_heard import note_gates
from vlmguard_plugin.guards.core.moderation import FORMS, CheckCosts, Exchange, Moderator, wording_in
from vlmguard_plugin.guards.core.settings import GuardSettings
from vlmguard_plugin.query import Query
from vlmguard_plugin.subjects.base import Subject

APIS = ("moderation", "chat", "classifier", "generator")
LOCAL = ("classifier", "generator")
REFUSAL = "I'm sorry, but I can't help with that."


@dataclass(frozen=True)
class ModeratedSettings(GuardSettings):
    """Settings of moderated.

    guard_model: its name at an endpoint, or a folder or hub name; needed.
    api: "moderation" (an endpoint's /moderations), "chat" (its /chat/completions), "classifier" (a local sequence
        classifier), "generator" (a local language model).
    base_url: of the endpoint; None for $VLMGUARD_MODERATOR_BASE_URL, else OpenAI's. Keys are no setting:
        $VLMGUARD_MODERATOR_KEY or $OPENAI_API_KEY.
    looks_at: "input" (the request), "output" (the answer, with its request), or "both".
    form: how chat and generator are asked: "plain" (our wording, one word back), "llama_guard" (the conversation, as
        its chat template has it), "wildguard" (its three lines).
    prompt_file: a text file in place of our wording, with {request} and {answer} for plain, {prompt} and {response} for
        wildguard.
    unsafe_labels: of a classifier, the labels that mean unsafe.
    threshold: of a classifier, their probability from which on it is unsafe, 0 to 1.
    pictures: an endpoint's model is shown the request's pictures; else it reads words alone.
    refusal: what is said instead.
    timeout: seconds without a sign of an endpoint.
    retry: further tries at an endpoint.
    workers: requests that an endpoint has at a time.
    """

    guard_model: str | None = None
    api: str = "moderation"
    base_url: str | None = None
    looks_at: str = "both"
    form: str = "plain"
    prompt_file: str | None = None
    unsafe_labels: tuple[str, ...] = ()
    threshold: float = 0.5
    pictures: bool = False
    refusal: str = REFUSAL
    timeout: float = 60.0
    retry: int = 3
    workers: int = 4

    def __post_init__(self) -> None:
        for field in ("guard_model", "prompt_file"):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, str(getattr(self, field)))
        self.check_choice("api", APIS)
        self.check_choice("looks_at", ("input", "output", "both"))
        self.check_choice("form", FORMS)
        if self.guard_model is not None:
            self.check_words("guard_model", "a model's name or folder")
        labels = self.unsafe_labels
        object.__setattr__(self, "unsafe_labels", (labels,) if isinstance(labels, str) else tuple(labels))
        self.check_number("threshold", 0, 1)
        if self.threshold != 0.5 and self.api != "classifier":
            raise ValueError(
                f"threshold is {self.threshold}, and api={self.api} gives verdicts, no probabilities; leave it out, or "
                "use a classifier"
            )
        self.check_flag("pictures")
        self.check_words("refusal", "the words of a refusal")
        self.check_number("timeout", 0.01)
        self.check_whole("retry", 0, most=100)
        self.check_whole("workers", 1, most=1000)
        if self.pictures and self.api in LOCAL:
            raise ValueError(
                f"pictures is True, and api={self.api} reads words alone; ask an endpoint, or leave it out"
            )
        if self.base_url is not None and self.api in LOCAL:
            raise ValueError(f"base_url is given, and api={self.api} runs here; leave it out, or give another api")
        if self.base_url is not None:
            check_address(self.base_url)
        if bool(self.unsafe_labels) != (self.api == "classifier"):
            raise ValueError(
                f"unsafe_labels is {list(self.unsafe_labels)} with api={self.api}; a classifier needs it, and nothing "
                "else takes it"
            )
        if self.form != "plain" and self.api not in ("chat", "generator"):
            raise ValueError(f"form is {self.form!r}, and api={self.api} is not asked in words; leave it out")
        self.check_prompt()

    def check_prompt(self) -> None:
        """ValueError or FileNotFoundError for a prompt_file that nothing can be asked with."""
        if self.prompt_file is None:
            return
        if self.form == "llama_guard" or self.api not in ("chat", "generator"):
            raise ValueError(f"prompt_file is given, and form={self.form} with api={self.api} has no wording; leave it")
        text = wording_in(self.prompt_file) or ""
        fields = {"plain": ("request", "answer"), "wildguard": ("prompt", "response")}[self.form]
        wrong = [name for name in fields if text.count(f"{{{name}}}") != 1]
        if wrong:
            raise ValueError(
                f"prompt_file {self.prompt_file} holds {{{wrong[0]}}} {text.count(f'{{{wrong[0]}}}')} times; write it "
                "once"
            )


def check_address(url: str) -> None:
    """ValueError for what is no address, or holds what could be a key: settings are written down with every run."""
    if not isinstance(url, str):
        raise ValueError(f"base_url is {url!r}; give an address such as http://HOST:PORT/v1")
    _, query = endpoint(url)
    if set(query) - {VERSION}:
        raise ValueError(
            "base_url holds more than an address behind its ?; give keys as $VLMGUARD_MODERATOR_KEY, since settings "
            "are written down with every run"
        )


class Moderated(Guard):
    """A guard model beside the subject: what it calls unsafe, request or answer, is refused in fixed words.

    Not a paper's method but what people use: a filter. A request that is called unsafe costs no answer; an answer that
    is called unsafe has cost one. A check that fails (an endpoint that is away, a reply that says neither, a text too
    long) leaves the request without an answer, in one line: nothing is taken for safe because nobody looked. An answer
    without a word is not asked about. Calls, tokens and seconds of the checks are counted, by `checks`. How often it
    has refused is shown as its gate's rate.
    """

    name = "moderated"
    Settings = ModeratedSettings
    settings: ModeratedSettings
    needs_fit = False
    looks_at_answers = True
    files = ("prompt_file",)
    checks: CheckCosts
    _loaded: tuple[str, Moderator] | None = None

    def __init__(self, *, preset: str | None = None, **settings: Any) -> None:
        super().__init__(preset=preset, **settings)
        self.checks = CheckCosts()

    def check_given(self) -> None:
        if self.settings.guard_model is None:
            raise ValueError(
                f"guard_model is not given, and guard {self.name!r} needs one; give guard_model=NAME and api="
                f"{' or '.join(APIS)}"
            )

    def read_files(self) -> Iterator[bytes]:
        """What tells a local guard model, and a wording, from others; nothing of one on a hub or at an endpoint."""
        yield from super().read_files()
        folder = Path(self.settings.guard_model or "").expanduser()
        if self.settings.api in LOCAL and self.settings.guard_model and folder.is_dir():
            yield folder_sha256(folder).encode()

    def moderator(self, subject: Subject) -> Moderator:
        """The guard model, loaded at first need; a local one onto the subject's device where that is known."""
        device = str(getattr(subject, "device", None) or "cpu")
        if self._loaded is None or self._loaded[0] != device:
            self._loaded = device, self.load(device)
            self._loaded[1].costs = self.checks
        return self._loaded[1]

    def load(self, device: str) -> Moderator:
        """The guard model that the settings name."""
        own = self.settings
        wording = wording_in(own.prompt_file)
        if own.api == "classifier":
            from vlmguard_plugin.guards.core.moderation_local import ClassifierModerator

            return ClassifierModerator(str(own.guard_model), own.unsafe_labels, own.threshold, device)
        if own.api == "generator":
            from vlmguard_plugin.guards.core.moderation_local import GeneratorModerator

            return GeneratorModerator(str(own.guard_model), own.form, wording, device)
        from vlmguard_plugin.guards.core.moderation_endpoint import EndpointModerator

        form = None if own.api == "moderation" else own.form
        return EndpointModerator(
            str(own.guard_model), form, own.base_url, own.pictures, own.timeout, own.retry, own.workers, wording
        )

    @property
    def has_gate(self) -> bool:
        return True

    def respond(self, subject: Subject, queries: Sequence[Query], **generation: Any) -> list[str]:
        self.check_fits(subject)
        queries, moderator, looks_at = list(queries), self.moderator(subject), self.settings.looks_at
        refused: set[int] = set()
        if looks_at != "output":
            refused = self.unsafe(moderator, {index: Exchange.of(query) for index, query in enumerate(queries)})
        answered = [index for index in range(len(queries)) if index not in refused]
        put = [queries[index] for index in answered]
        given = dict(zip(answered, subject.generate(put, **generation) if put else []))
        if looks_at != "input":
            said = {index: Exchange.of(queries[index], text) for index, text in given.items() if text.strip()}
            refused |= self.unsafe(moderator, said)
        note_gates(queries, [index in refused for index in range(len(queries))])
        return [self.settings.refusal if index in refused else given[index] for index in range(len(queries))]

    def unsafe(self, moderator: Moderator, exchanges: dict[int, Exchange]) -> set[int]:
        """Which of the numbered exchanges are unsafe."""
        started = time.perf_counter()
        try:
            verdicts = moderator.unsafe(list(exchanges.values()))
        finally:
            moderator.costs.seconds += time.perf_counter() - started
        return {index for index, unsafe in zip(exchanges, verdicts, strict=True) if unsafe}
