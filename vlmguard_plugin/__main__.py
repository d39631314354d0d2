"""`python -m vlmguard_plugin`: the console command, also where scripts are not on the path."""

from __future__ import annotations

from vlmguard_plugin.cli.main import main

if __name__ == "__main__":
    main(prog_name="vlmguard")
