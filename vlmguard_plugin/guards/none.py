"""No guard: the unguarded model, by way of the code that guards it."""

from vlmguard_plugin.guards.core.base import Guard


class NoGuard(Guard):
    """No guard at all: `<model>_none` is the unguarded base on the engine and the code path of `<model>_<guard>`.

    Nothing is fitted, and no decoder is looked for.
    """

    name = "none"
    needs_fit = False
    acts = False
