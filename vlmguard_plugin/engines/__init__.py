"""Inference engines beside transformers, a folder each: subjects on them, and guards inside them."""
