"""``python -m dadfi_fast.cli``: the command ``dadfi-fast`` where its script is not on the path."""

from __future__ import annotations

from dadfi_fast.cli.main import main

main(prog_name="dadfi-fast")
