"""Edit hidden states while a model generates: follow its passes, decide in the prefill, edit what is to be edited."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Callable, ContextManager, Iterator, NamedTuple, Sequence
from weakref import WeakKeyDictionary

from vlmguard_plugin.lazy import torch
from vlmguard_plugin.steering.decoder import Decoder, hidden_state, with_hidden_state
from vlmguard_plugin.steering.edit import Edits
from vlmguard_plugin.steering.edited_generations import EditedGenerations
from vlmguard_plugin.steering.generation import Generation, given_to
from vlmguard_plugin.steering.passes import Pass, hearing_passes

if TYPE_CHECKING:
    from torch import Tensor, nn

_edited: WeakKeyDictionary[nn.Module, _EditedModel] = WeakKeyDictionary()
_answers: WeakKeyDictionary[nn.Module, Tensor] = WeakKeyDictionary()


@contextmanager
def editing(
    model: nn.Module,
    decoder: Decoder,
    edits: Edits,
    *,
    image_token_id: int | None = None,
    has_image: Callable[[], bool | None] | None = None,
    own_loop: bool = False,
) -> Iterator[None]:
    """While open, every generation (or plain forward pass) of `model` has `edits` in place.

    A generation's first pass is its prefill, whatever its length and with the KV cache on or off; outside
    `generate`, a pass with an empty cache starts a new one, unless it is the last one again with a token more. Contexts
    nest, the outer one editing first.
    A second thread is refused, and so is what can't be followed: a prompt in parts, a pass that belongs to no prompt
    that was heard, a layer that is not reached. Compiled models run without torch.compile meanwhile, since compiled
    code passes hooks by. Hooks come off on the way out, also after an error.

    image_token_id: token that stands for an image in the prompt. has_image: whether the prompt under way holds an
    image; None where the caller does not know.
    own_loop: the model decodes without `generate`, so that outside it a longer pass without a KV cache goes on with
    the prompt before it; `new_generation` says where another prompt begins.
    """
    edited = _edited.get(model) or _EditedModel(model, decoder)
    context = EditedGenerations(
        edits, type(model).__name__, image_token_id, has_image, lambda: _answers.get(model), own_loop
    )
    edited.open(context, decoder)
    _edited[model] = edited
    try:
        yield
    finally:
        edited.close(context)
        if not edited.contexts:
            _edited.pop(model, None)


def is_edited(model: nn.Module) -> bool:
    """Whether edits are in place on a model now, or on another one that shares decoder layers with it."""
    if not _edited:
        return False
    own = set(map(id, model.modules()))
    return any(id(layer) in own for edited in _edited.values() for layer in edited.decoder.layers)


@contextmanager
def with_answers(model: nn.Module, tokens: Tensor) -> Iterator[None]:
    """While open, prompts of `model` stand with their answers in a generation's first pass, whoever edits it.

    tokens: int [rows], how many of each row's last tokens are an answer's; these are edited as if they were decoded.
    """
    before = _answers.get(model)
    _answers[model] = tokens
    try:
        yield
    finally:
        del _answers[model]
        if before is not None:
            _answers[model] = before


def new_generation(model: nn.Module) -> None:
    """Say that what the model runs next, outside `generate`, begins a new prompt."""
    if model in _edited:
        for context in _edited[model].contexts:
            context.generations[-1] = Generation(context.generations[-1].given)


@contextmanager
def replaced_generate(
    modules: Sequence[nn.Module], wrap: Callable[[nn.Module, Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """While open, each module's `generate` is what `wrap` makes of the module and its `generate`."""
    own = {module: vars(module).get("generate") for module in modules}
    try:
        for module in modules:
            edited: Any = module
            edited.generate = wrap(module, edited.generate)
        yield
    finally:
        for module, generate in own.items():
            vars(module).pop("generate", None)
            if generate is not None:
                restored: Any = module
                restored.generate = generate


def without_compiling() -> ContextManager[Any]:
    """A context in which compiled code runs as it was written, hooks included; empty before PyTorch 2.6."""
    set_stance = getattr(torch.compiler, "set_stance", None)
    stance: ContextManager[Any] = set_stance("force_eager") if set_stance else ExitStack()
    return stance


class _LayerOutput(NamedTuple):
    """A layer's hidden states in the pass under way, before and after all edits. written: times_written of these."""

    own: Tensor
    edited: Tensor
    written: int


class _EditedModel:
    """A model with open contexts: its hooks, its replaced `generate`, and the one thread that may run it."""

    def __init__(self, model: nn.Module, decoder: Decoder) -> None:
        self.model, self.decoder = model, decoder
        self.name = type(model).__name__
        self.contexts: list[EditedGenerations] = []
        self.thread = threading.get_ident()
        self.outputs: dict[int, _LayerOutput] = {}
        self._hooks = ExitStack()
        self._while_open = ExitStack()

    def open(self, context: EditedGenerations, decoder: Decoder) -> None:
        self.check_thread()
        if self.contexts and decoder.layers != self.decoder.layers:
            raise RuntimeError(f"decoder layers of this {self.name} were replaced under a guard; leave the guard first")
        generators = [module for module in dict.fromkeys((self.model, *decoder.callers)) if hasattr(module, "generate")]
        if not self.contexts:
            self._while_open.enter_context(without_compiling())
            self._while_open.enter_context(replaced_generate(generators, self.guarded_generate))
        self.contexts.append(context)
        try:
            self.set_hooks()
        except BaseException:
            self.close(context)
            raise

    def close(self, context: EditedGenerations) -> None:
        self.contexts.remove(context)
        self.set_hooks()
        if not self.contexts:
            self._while_open.close()

    def set_hooks(self) -> None:
        """One hook a layer for all contexts, before any that was there: who listens hears what is edited."""
        self._hooks.close()
        if not self.contexts:
            return
        with ExitStack() as stack:
            layers = {index for context in self.contexts for index in (*context.edits.by_layer, *context.edits.watched)}
            for index in sorted(layers):
                layer = self.decoder.layers[index]
                stack.callback(layer.register_forward_hook(self.after_layer(index), prepend=True).remove)
                following = self.decoder.next_to(index)
                if following is not None:
                    before_next = self.before_layer_after(index)
                    stack.callback(following.register_forward_pre_hook(before_next, with_kwargs=True).remove)
            stack.enter_context(hearing_passes(self.decoder, self.begin_pass, self.end_pass))
            self._hooks = stack.pop_all()

    def check_thread(self) -> None:
        if self.contexts and threading.get_ident() != self.thread:
            raise RuntimeError(
                f"another thread is already editing this {self.name}; guard one model from one thread at a time"
            )
        self.thread = threading.get_ident()

    def guarded_generate(self, module: nn.Module, generate: Callable[..., Any]) -> Callable[..., Any]:
        """`generate`, told here, so that its first pass is known to be the prefill."""

        def generate_edited(*args: Any, **kwargs: Any) -> Any:
            self.check_thread()
            given = given_to(generate, getattr(module, "generation_config", None), args, kwargs)
            contexts = list(self.contexts)
            for context in contexts:
                context.generations.append(Generation(given))
            try:
                generated = generate(*args, **kwargs)
            except BaseException:
                for context in contexts:
                    context.generations.pop()
                raise
            for context in contexts:
                context.end_generation()
            return generated

        return generate_edited

    def begin_pass(self, heard: Pass) -> None:
        self.outputs.clear()
        for context in self.contexts:
            context.begin_pass(heard)

    def end_pass(self, entered: bool) -> None:
        self.outputs.clear()
        for context in self.contexts:
            context.end_pass(entered)

    def after_layer(self, index: int) -> Callable[..., Any]:
        """What is called behind a layer: notes the last prompt token in the prefill, and edits."""

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            own = hidden = hidden_state(output)
            with as_written(own.device):
                for context in self.contexts:
                    hidden = context.after_layer(index, hidden)
            if hidden is own:
                return None
            self.outputs[index] = _LayerOutput(own, hidden, times_written(hidden))
            return with_hidden_state(output, hidden)

        return hook

    def edit(self, index: int, hidden: Tensor) -> Tensor:
        """A layer's hidden states with the edits of all contexts, as decided."""
        for context in self.contexts:
            hidden = context.edit(index, hidden)
        return hidden

    def before_layer_after(self, index: int) -> Callable[..., Any]:
        """What is called before the next layer: where the model has added to the hidden states in between, as
        Qwen3-VL does with pictures' features, the edit is of what the layer gave and this together.
        """

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            output = self.outputs.pop(index, None)
            entering = args[0] if args else kwargs.get("hidden_states")
            if output is None or not isinstance(entering, torch.Tensor) or entering.shape != output.edited.shape:
                return None
            in_place = entering is output.edited
            if in_place and times_written(entering) == output.written:
                return None
            with as_written(entering.device):
                edited = self.edit(index, output.own) if in_place else output.edited
                added = entering - edited.to(entering.device)
                hidden = self.edit(index, output.own.to(entering.device) + added)
            return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

        return hook


def times_written(hidden: Tensor) -> int:
    """Tells whether a tensor was written to in the meantime; 0 in inference mode, where torch does not count."""
    return 0 if hidden.is_inference() else hidden._version


def as_written(device: torch.device) -> ContextManager[Any]:
    """Edits are in float32, also where the model around them runs under autocast."""
    return torch.autocast(device.type, enabled=False) if torch.is_autocast_enabled(device.type) else ExitStack()
