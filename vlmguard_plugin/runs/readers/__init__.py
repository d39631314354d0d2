"""The hosts' output files, one module a host. `read(folder)` gives a collect.Found: rows with their answers, not judged."""
