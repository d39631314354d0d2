"""Guarded models in lmms-eval."""
