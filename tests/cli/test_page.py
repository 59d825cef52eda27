from __future__ import annotations

import runpy
from pathlib import Path


def test_the_page_of_the_command_line_is_up_to_date(root: Path) -> None:
    page = runpy.run_path(str(root / "tools" / "make_cli_page.py"))["page"]()
    written = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == page, "run: python tools/make_cli_page.py"
