"""``dadfi-fast completion``: the script that lets a shell complete commands, options and values."""

from __future__ import annotations

from typing import Final

import click

from dadfi_fast.cli import console, options

SHELLS: Final = ("bash", "zsh", "fish")
#: The program's name, and the variable through which the script asks it.
PROGRAM: Final = "dadfi-fast"
VARIABLE: Final = "_DADFI_FAST_COMPLETE"


@click.command("completion")
@click.argument("shell", type=options.Choice(SHELLS))
def command(shell: str) -> None:
    """Print a shell completion script.

    SHELL is bash (4.4 or newer), zsh or fish. Save the script where the shell looks for it, as in the examples, and
    open a new shell.
    """
    from click.shell_completion import get_completion_class

    from dadfi_fast.cli.main import main

    kind = get_completion_class(shell)
    assert kind is not None, f"click knows no completion for {shell}"
    console.result(kind(main, {}, PROGRAM, VARIABLE).source())
