"""Guarded models behind an address, in the form of OpenAI's chat completions."""
