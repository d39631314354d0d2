"""`python -m vlmguard_plugin.cli`."""

from __future__ import annotations

from vlmguard_plugin.cli.main import main

main(prog_name="vlmguard")
