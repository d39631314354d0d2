"""The hosts' output files, one module a host. `read(folder)` gives an answers.Found: items, not judged."""
