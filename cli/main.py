"""The command ``dadfi-fast``: a group whose commands are imported only when they are called."""

from __future__ import annotations

import errno
import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from dadfi_fast import __version__
from dadfi_fast.cli import console, examples
from dadfi_fast.errors import DadfiError
from dadfi_fast.protect.interrupt import leave
from dadfi_fast.registry import did_you_mean

#: What ``--help`` says of each command, so that the list can be shown without importing them. A command is the object
#: ``command`` in the file ``cli/NAME.py`` or ``cli/NAME/command.py``; names without a file are not listed.
COMMANDS: Final[Mapping[str, str]] = {
    "protect": "Protect photos against deepfake models.",
    "check": "Run protected files through the deepfake models and report how many fakes are broken.",
    "train": "Train the generator.",
    "models": "List, verify, add or train the deepfake models and generators.",
    "export": "Export a generator for another runtime.",
    "bench": "Measure speed on this machine.",
    "evaluate": "Run the experiments and write their tables and figures.",
    "doctor": "Show what this machine can run, and what is missing for the rest.",
    "config": "Show the settings that protect would use.",
    "completion": "Print a shell completion script.",
}
#: Exit code after Ctrl-C, as shells have it: 128 + SIGINT.
INTERRUPTED: Final = 130


class LazyGroup(click.Group):
    """A group that finds its commands by module name and turns our errors into a message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in `COMMANDS` that have a file, in that order."""
        return [name for name in COMMANDS if importlib.util.find_spec(f"dadfi_fast.cli.{name}")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called ``cmd_name``, imported now; None where there is none."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command = load(cmd_name)
        examples.attach(command, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that ``args`` begin with; an unknown name is told with the nearest known one."""
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            hint = did_you_mean(name, known, sentence=True)
            ctx.fail(f"Unknown command {name!r}.{hint} Available: {', '.join(known)}.")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands and options that begin with ``incomplete``; no command is imported to list it."""
        items = [CompletionItem(name, help=COMMANDS[name]) for name in self.list_commands(ctx)]
        return [*(item for item in items if item.value.startswith(incomplete)), *_options(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from `COMMANDS`, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what it raises on purpose becomes a message on stderr and an exit code."""
        try:
            return super().invoke(ctx)
        except DadfiError as error:
            console.error(str(error))
            ctx.exit(error.exit_code)
        except click.UsageError as error:  # which click shows
            error.message = console.visible(error.message)  # type: ignore[misc]
            raise
        except OSError as error:
            if error.errno != errno.ENOSPC or error.filename is not None:
                raise
            console.error("cannot write the result: the disk that stdout goes to is full. Send it elsewhere")
            ctx.exit(1)
        except KeyboardInterrupt:
            console.error("interrupted")
            leave(INTERRUPTED)
            ctx.exit(INTERRUPTED)


def load(name: str) -> click.Command:
    """The command called ``name``, from its file or from ``command.py`` in its folder."""
    module = importlib.import_module(f"dadfi_fast.cli.{name}")
    if hasattr(module, "__path__"):  # a folder
        module = importlib.import_module(f"{module.__name__}.command")
    command = module.command
    assert isinstance(command, click.Command), f"{module.__name__} has no click command called `command`"
    return command


def _options(command: click.Command, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """The options of ``command`` itself, as click completes them."""
    return click.Command.shell_complete(command, ctx, incomplete)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="dadfi-fast")
def main() -> None:
    """Protect photos of faces against deepfake models.

    Exit codes: 0 all done; 1 some files failed; 2 wrong usage; 3 nothing to do; 4 the check found
    unprotected samples; 130 interrupted.
    """
