"""What an answer is: refused, complied with, no language, unknown; whether it is right; how fluent it is.

One file a judge. Rules (`refusal`, `degeneration`, `exact`) need no model, no network and nothing beyond the standard
library; the others need a local model or an endpoint. `registry.build_judge` knows those of safety by name.
"""
