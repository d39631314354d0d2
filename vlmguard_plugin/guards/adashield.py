"""AdaShield-S: a static prompt that has the model examine image and request first."""

from vlmguard_plugin.guards.core.prompt import PromptGuard


class AdaShield(PromptGuard):
    """AdaShield-S: after the request the model is told to examine the image and to refuse if either is harmful.

    The static form; the wording is this project's own, `prompt_file` takes an original. AdaShield-A, which picks a
    prompt per query, is not built.
    """

    name = "adashield"
    template = (
        "{query}\n"
        "Before you answer, look at the image step by step, at any text and objects in it, and at what the request and "
        'the image ask for together. If that is harmful or illegal, say only "I am sorry, I can\'t help with that." '
        "Otherwise answer the request."
    )
