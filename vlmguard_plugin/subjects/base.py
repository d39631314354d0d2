"""What a guard can be put on: a model that answers queries, and one that also says how likely an answer is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, ContextManager, NamedTuple, Protocol, Sequence

if TYPE_CHECKING:
    from torch import Tensor

    from vlmguard_plugin.query import Query
    from vlmguard_plugin.steering.edit import SomeEdits

    EditsForBatch = Callable[[Sequence[Query]], SomeEdits]
    """From the queries of a batch to the edits that are made while they are answered."""


class AnswersCutShort(RuntimeError):
    """Generation stopped at an error. `answers` holds what was answered before: list of str or None, by query."""

    def __init__(self, message: str, answers: list[str | None]) -> None:
        super().__init__(message)
        self.answers = answers


class Likelihood(NamedTuple):
    """log_probability: of an answer, natural logarithm. greedy: whether each of its tokens was the most likely one."""

    log_probability: float
    greedy: bool


class Contrast(NamedTuple):
    """Requests put in another way, whose logits those of the requests are contrasted with, token by token.

    queries: one for each request, with as many images. alpha: from logits z of a request and z' of its other wording,
    after the same words of the answer, come `z + alpha (z - z')`.
    """

    queries: Sequence[Query]
    alpha: float


class Draws(NamedTuple):
    """How answers are drawn token by token, each by random numbers of its own, whatever it is batched with.

    seeds: of each query's numbers, 0 to 2**32 - 1. begun: what each answer begins with already, behind the prompt;
    guards decide at the prompt, and edit these words as if they had just been decoded.
    lengths: the most tokens that are drawn for each. top_k: a token is one of so many of the most likely ones.
    temperature: what their logits are divided by, above 0. end: text that ends an answer, itself included.
    """

    seeds: Sequence[int]
    begun: Sequence[str]
    lengths: Sequence[int]
    top_k: int
    temperature: float
    end: str


class Drawn(NamedTuple):
    """text: what was drawn, white space included. tokens: how many, at least 1. ended: by the model itself."""

    text: str
    tokens: int
    ended: bool


class Subject(Protocol):
    """A vision-language model that can answer, and whose hidden states can be read and edited while it does."""

    @property
    def num_layers(self) -> int:
        """L, decoder layers of the language model."""

    @property
    def hidden_size(self) -> int:
        """d, width of its residual stream."""

    @property
    def fingerprint(self) -> str:
        """Identifies the weights; equal for the same checkpoint whatever its dtype or device."""

    @property
    def is_edited(self) -> bool:
        """Whether edits are in place on the model now, so that what is recorded is not the model's own."""

    @property
    def prompt_form(self) -> str:
        """Identifies how prompts are built."""

    @property
    def batch_size(self) -> int:
        """Queries that go through the model at once."""

    @property
    def generated_tokens(self) -> int | None:
        """Tokens generated so far, by all answers together; None where nobody counts them."""

    def record(
        self,
        queries: Sequence[Query],
        edits: SomeEdits | EditsForBatch | None = None,
        *,
        progress: str | None = None,
    ) -> Tensor:
        """float32 tensor [N, L, d] on the CPU: last prompt token, after each decoder layer.

        edits: as for `generate`; the states are then those after the edits. progress: label of a bar; None for none.
        """

    def normalised(self, states: Tensor) -> Tensor:
        """The last decoder layer's states [N, d] behind the model's final norm: float32 [N, d] on the CPU.

        ValueError where that norm can't be told.
        """

    def generate(
        self,
        queries: Sequence[Query],
        edits: SomeEdits | EditsForBatch | None = None,
        *,
        progress: str | None = None,
        **generation: Any,
    ) -> list[str]:
        """One answer per query, in order.

        edits: for all queries alike, or a function from a batch's queries to its edits; None for none.
        generation: arguments of the model's `generate`; ValueError for one that can't be followed.
        A subject whose `contrasts` is True takes a `contrast` (Contrast) beside these, here and for likelihoods.
        One whose `draws` is True is a Drawer.
        """

    def editing(self, edits: SomeEdits) -> ContextManager[None]:
        """A context in which the model's own `generate` runs with these edits, the first acting first."""


class Drawer(Subject, Protocol):
    """A subject whose answers can be drawn token by token, and continued."""

    @property
    def device(self) -> Any:
        """Where it computes, a torch.device."""

    def draw(
        self,
        queries: Sequence[Query],
        draws: Draws,
        edits: SomeEdits | EditsForBatch | None = None,
        *,
        contrast: Contrast | None = None,
        **generation: Any,
    ) -> list[Drawn]:
        """What is drawn for each query, in order. edits, contrast, generation: as for `generate`.

        The length and how tokens are chosen are those of `draws`, whatever `generation` says.
        """


class Scorer(Subject, Protocol):
    """A subject that also tells how likely an answer is."""

    def log_likelihoods(
        self,
        queries: Sequence[Query],
        answers: Sequence[str],
        edits: SomeEdits | EditsForBatch | None = None,
    ) -> list[Likelihood]:
        """Of each answer to its query, under edits decided at the last prompt token."""

    def token_log_likelihoods(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        edits: SomeEdits | EditsForBatch | None = None,
    ) -> list[Likelihood]:
        """The same for prompts and answers given as tokens, special ones included: text alone."""
