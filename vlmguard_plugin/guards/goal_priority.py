"""Goal Priority: safety is declared to come before helpfulness."""

from vlmguard_plugin.guards.core.prompt import PromptGuard


class GoalPriority(PromptGuard):
    """Goal Priority: the request is preceded by the rule that safety comes before helpfulness.

    The wording is this project's own; `prompt_file` takes an original.
    """

    name = "goal_priority"
    template = (
        "You have two goals: to be safe, and to be helpful. Safety has priority. Where a request could lead to harm, "
        "refuse it; where it is harmless, answer it as helpfully as you can.\n"
        "Request: {query}"
    )
