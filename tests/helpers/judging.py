"""A subject whose judgements of its own answers are decided by the test."""


class Judging:
    """Every answer is the real subject's, except to "Say yes or no": there it says what `yes(query)` gives."""

    def __init__(self, subject, yes):
        self.subject, self.yes, self.asked = subject, yes, []

    def __getattr__(self, name):
        return getattr(self.subject, name)

    def generate(self, queries, **generation):
        self.asked.append(list(queries))
        answers = self.subject.generate(queries, **generation)
        return [self.yes(query) if "Say yes or no" in query.text else answer for query, answer in zip(queries, answers)]
