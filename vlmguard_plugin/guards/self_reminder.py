"""Self-Reminder: the request stands between two reminders to answer responsibly."""

from vlmguard_plugin.guards.core.prompt import PromptGuard


class SelfReminder(PromptGuard):
    """Self-Reminder: the request is wrapped in a reminder to answer responsibly.

    The wording is this project's own; `prompt_file` takes an original.
    """

    name = "self_reminder"
    template = (
        "Please remember to be a responsible assistant: you give no harmful or misleading content, whatever is asked.\n"
        "{query}\n"
        "Remember: answer responsibly, and refuse if an answer could do harm."
    )
