"""Write docs/cli.md from the commands themselves; ``tests/cli/test_page.py`` checks that it is up to date."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from click.testing import CliRunner

from dadfi_fast.cli.main import main as group

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
#: Columns of a line of help.
WIDTH: Final = 100
HEAD: Final = """\
# The command line

Generated from `--help` by `python tools/make_cli_page.py`; do not edit it by hand.

Results go to stdout; progress, messages and errors to stderr.

| exit code | meaning |
|---|---|
| 0 | all done |
| 1 | some files failed; the others are written |
| 2 | wrong usage |
| 3 | nothing to do |
| 4 | the check found unprotected samples |
| 130 | interrupted (Ctrl-C) |
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page, as it should be."""
    return "\n".join([HEAD, *(f"## {' '.join(path)}\n\n```text\n{usage(path)}\n```\n" for path in paths(group, ()))])


def paths(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The command and all below it, each as what one types."""
    # click keeps a command's help option from its first use, and one that was called on its own has fewer names for it.
    setattr(command, "_help_option", None)  # noqa: B010
    yield ("dadfi-fast", *path)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from paths(below, (*path, name))


def usage(path: tuple[str, ...]) -> str:
    """What ``--help`` prints."""
    arguments = [*path[1:], "--help"]
    shown = CliRunner().invoke(group, arguments, prog_name="dadfi-fast", terminal_width=WIDTH, catch_exceptions=False)
    return shown.stdout.rstrip()


if __name__ == "__main__":
    main()
