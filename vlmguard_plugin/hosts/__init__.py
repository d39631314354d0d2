"""Evaluation frameworks: how our models, data sets and facts of runs get into each."""
