"""What an answer is: refusal, compliance, degenerate or unknown; and whether it is right.

One file a judge. None of them needs a model, a network or a package beyond the standard library.
"""
