"""ETA (arXiv 2410.06625): where picture and answer are both unsafe, build the answer anew, sentence by sentence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence, cast

from vlmguard_plugin.files import expanded, folder_sha256
from vlmguard_plugin.guards.core.aligned_answer import AlignedAnswer
from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.evaluators import Evaluators
from vlmguard_plugin.guards.core.preset import Preset
from vlmguard_plugin.guards.core.settings import GuardSettings
from vlmguard_plugin.query import Query
from vlmguard_plugin.subjects.base import Drawer, Drawn, Draws, Subject

if TYPE_CHECKING:
    from PIL import Image

MOST_TOKENS = 1024
"""Length of an aligned answer where nobody names one, as in the authors' commands."""
END = "."
"""What ends a sentence."""


@dataclass(frozen=True)
class ETASettings(GuardSettings):
    """Settings of ETA.

    clip, reward_model: folders or hub names of a CLIP model and of a reward model, both needed. What they are:
        `ClipScores` and `RewardScores` in guards/core/evaluators.py.
    picture_statement: what an unsafe picture goes well with.
    picture_threshold: how well at least, CLIP's logits / 100.
    reward_prompt: the request that answers are scored for; {query} in it is the request at hand.
    reward_threshold: the highest score of an unsafe answer, in the reward model's own units.
    prefix: what an aligned answer begins with.
    candidates: sentences that one is chosen from.
    sentence_tokens: the longest sentence, in tokens.
    top_k, temperature: the next token is one of so many, their logits divided by this (above 0).
    seed: of the random draws.
    """

    clip: str | None = None
    reward_model: str | None = None
    picture_statement: str = (
        "This picture shows violence, crime, sex, hatred, drugs, a weapon, something dangerous or private data."
    )
    picture_threshold: float = 0.16
    reward_prompt: str = (
        "Answer in a way that harms nobody. An answer that says no and offers safe help is very good. One that helps "
        "with crime, violence, hatred, sex, danger or a breach of privacy is very bad."
    )
    reward_threshold: float = 0.06
    prefix: str = "As an AI assistant"
    candidates: int = 5
    sentence_tokens: int = 70
    top_k: int = 5
    temperature: float = 1.5
    seed: int = 0

    def __post_init__(self) -> None:
        for field in ("clip", "reward_model"):
            if getattr(self, field) is not None:
                self.check_checkpoint(field)
        self.check_words("picture_statement", "a statement that describes unsafe pictures")
        self.check_words("reward_prompt", "the request that answers are scored for")
        self.check_words("prefix", "the words that an aligned answer begins with")
        self.check_number("picture_threshold")
        self.check_number("reward_threshold")
        self.check_whole("candidates", 1, most=1000)
        self.check_whole("sentence_tokens", 1, most=4096)
        self.check_whole("top_k", 1)
        self.check_number("temperature", 1e-3, 1e3)
        self.check_whole("seed", 0)

    def check_checkpoint(self, field: str) -> None:
        """The setting as text; ValueError for what is no name, FileNotFoundError for a path where no folder is."""
        given = getattr(self, field)
        object.__setattr__(self, field, str(given) if isinstance(given, Path) else given)
        self.check_words(field, "a folder or a hub name")
        name = getattr(self, field)
        if not expanded(name).is_dir() and name.startswith(("/", ".", "~")):
            raise FileNotFoundError(
                f"{field} is {name!r}, and there is no such folder; give a save_pretrained folder or a hub name"
            )


class ETA(Guard):
    """ETA: where CLIP calls the picture and a reward model the answer unsafe, draw a safer answer sentence by sentence.

    Evaluate: unsafe is a picture with `clip(picture_statement, picture) >= picture_threshold` and an answer with
    `reward(reward_prompt, answer) <= reward_threshold`. Where not both are, the unguarded answer stands.
    Align: the answer begins with `prefix`; of `candidates` drawn sentences, up to the first "." or `sentence_tokens`,
    that with the highest `reward(reward_prompt, answer so far)` goes on, from the second sentence on with the highest
    `clip(sentence, picture) / number of the sentence + reward`, by the reward alone where a candidate has come to the
    answer's end. Until one that has is chosen, or the answer is as long as it may be.

    From the authors' code, its numbers too (temperature 1.5 is its commands'; its functions' own default, which none of
    them uses, is 5). Ours: both wordings (the second in both phases), so that the thresholds are to be chosen anew
    (0.06 is also of the authors' reward model, ArmoRM, which brings Python code and is refused); a text-only query is
    answered once (there is no picture to be unsafe); of several pictures the one with the highest score counts; "."
    ends a sentence wherever it stands in a token; an answer's length without the prefix is what was asked for at most,
    where the authors finish the sentence; random numbers by each query's words; a prefill for each sentence.

    Costs a CLIP pass a query with an image, a reward pass where that calls it unsafe; for each sentence of an aligned
    answer `candidates` prefills, sentences and reward passes, and a CLIP pass. Nothing is fitted.
    """

    name = "eta"
    Settings = ETASettings
    settings: ETASettings
    needs_fit = False
    looks_at_answers = True
    draws = True
    files = ("clip", "reward_model")
    paper = Preset(
        {},
        ours=("clip", "reward_model", "picture_statement", "reward_prompt", "seed"),
        note="the authors' code, with CLIP ViT-L/14-336 and ArmoRM; the thresholds are for these and its wordings",
    )
    _loaded: tuple[str, Evaluators] | None = None

    def check_given(self) -> None:
        for setting, what in (("clip", "CLIP model"), ("reward_model", "reward model (a classifier with one label)")):
            if getattr(self.settings, setting) is None:
                raise ValueError(
                    f"{setting} is not given, and guard {self.name!r} needs a {what}; give {setting}=FOLDER or a hub "
                    "name"
                )

    def read_files(self) -> Iterator[bytes]:
        """What tells a checkpoint's folder from others; nothing of one on the hub."""
        for name in (getattr(self.settings, file) for file in self.files):
            folder = expanded(name or "")
            if name and folder.is_dir():
                yield folder_sha256(folder).encode()

    def evaluators(self, subject: Drawer) -> Evaluators:
        """CLIP and the reward model, loaded at first need onto the subject's device."""
        device = str(subject.device)
        if self._loaded is None or self._loaded[0] != device:
            own = self.settings
            self._loaded = device, Evaluators.load(str(own.clip), str(own.reward_model), device)
        return self._loaded[1]

    def respond(self, subject: Subject, queries: Sequence[Query], **generation: Any) -> list[str]:
        self.check_fits(subject)
        drawer, queries, aligned = cast(Drawer, subject), list(queries), {}
        if not any(query.all_images for query in queries):
            return subject.generate(queries, **generation)
        evaluators, most = self.evaluators(drawer), most_tokens(generation)
        stop = generation.get("stop", ())
        stop = (stop,) if isinstance(stop, str) else stop
        answers = subject.generate(queries, **generation)
        for index, query in enumerate(queries):
            pictures = [evaluators.clip.picture(image) for image in query.all_images]
            if pictures and self.is_unsafe(evaluators, query, pictures, answers[index]):
                aligned[index] = AlignedAnswer(query, pictures, self.settings.prefix)
        given = {name: value for name, value in generation.items() if name not in ("stop", "progress")}
        self.align(drawer, list(aligned.values()), evaluators, most, stop, given)
        for index, answer in aligned.items():
            answers[index] = answer.cut(stop)
        return answers

    def is_unsafe(self, evaluators: Evaluators, query: Query, pictures: Sequence[Image.Image], answer: str) -> bool:
        """What both evaluators say of a query with pictures and the unguarded answer to it."""
        (shown,) = evaluators.clip.scores(pictures, [self.settings.picture_statement])
        if shown < self.settings.picture_threshold:
            return False
        return evaluators.reward.score(self.request(query), query.begun + answer) <= self.settings.reward_threshold

    def request(self, query: Query) -> str:
        """What answers to a query are scored for."""
        return self.settings.reward_prompt.replace("{query}", query.text)

    def align(
        self,
        subject: Drawer,
        answers: Sequence[AlignedAnswer],
        evaluators: Evaluators,
        most: int,
        stop: Sequence[str],
        generation: Mapping[str, Any],
    ) -> None:
        """Draw the answers to their ends, the next sentence of all of them at a time.

        most: tokens of an answer. stop: texts that it ends before. generation: other arguments of `generate`.
        """
        settings, number = self.settings, 0
        while waiting := [answer for answer in answers if not answer.is_whole(most, stop)]:
            number += 1
            rows = [(answer, candidate) for answer in waiting for candidate in range(settings.candidates)]
            draws = Draws(
                seeds=[answer.seed(settings.seed, number, candidate) for answer, candidate in rows],
                begun=[answer.said for answer, _ in rows],
                lengths=[min(settings.sentence_tokens, most - answer.tokens) for answer, _ in rows],
                top_k=settings.top_k,
                temperature=settings.temperature,
                end=END,
            )
            drawn = iter(subject.draw([answer.put for answer, _ in rows], draws, **generation))
            for answer in waiting:
                sentences = [next(drawn) for _ in range(settings.candidates)]
                scores = self.scores(evaluators, answer, sentences, number)
                answer.take(sentences[scores.index(max(scores))])

    def scores(
        self, evaluators: Evaluators, answer: AlignedAnswer, sentences: Sequence[Drawn], number: int
    ) -> list[float]:
        """Of each candidate for an answer's sentence. number: which one it is, the first being 1."""
        request = self.request(answer.query)
        rewards = [evaluators.reward.score(request, answer.with_words(sentence.text)) for sentence in sentences]
        if number == 1 or any(sentence.ended for sentence in sentences):
            return rewards
        shown = evaluators.clip.scores(answer.pictures, [sentence.text.strip() for sentence in sentences])
        return [score / number + reward for score, reward in zip(shown, rewards)]


def most_tokens(generation: Mapping[str, Any]) -> int:
    """Length of an answer by arguments of `generate`; ValueError where it is given together with the prompt's."""
    if generation.get("max_length") is not None:
        raise ValueError(
            f"max_length is {generation['max_length']!r}, which counts the prompt too, and guard 'eta' has several "
            "prompts for one answer; give max_new_tokens"
        )
    asked = generation.get("max_new_tokens") or getattr(generation.get("generation_config"), "max_new_tokens", None)
    return int(asked or MOST_TOKENS)
