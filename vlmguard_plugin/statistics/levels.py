"""The levels that rates, tests and intervals are held to; conventions, in one place, that cost nothing to import."""

ALPHA = 0.05
"""Level of the tests; intervals cover with a chance of 1 - ALPHA."""
POWER = 0.8
"""Chance of finding a difference of the size called detectable (our convention, the usual one)."""
MAX_UNKNOWN = 0.1
"""Share of unknown answers above which a rate says too little about the set to be shown (our convention)."""
MAX_UNPARSED = 0.25
"""Share of answers that nobody can read above which accuracy says more of the reading than of the model, and is
withheld (our convention: a quarter can move a rate of four options by as much as a guard does)."""
RESAMPLES = 9999
"""Draws of a bootstrap (our convention)."""
