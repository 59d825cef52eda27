from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import Result

from dadfi_fast import __version__, errors
from dadfi_fast.cli import main as main_module
from dadfi_fast.cli.examples import EXAMPLES
from dadfi_fast.cli.main import COMMANDS, LazyGroup, main

#: Files in cli/ that are no commands.
OTHERS = {"__init__", "__main__", "console", "examples", "field_options", "main", "options", "progress", "report"}

Command = Callable[..., Result]


def listed() -> list[str]:
    return main.list_commands(click.Context(main))


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[BaseException], None]]:
    """Enters a command ``fails`` that raises what it is given."""

    def enter(error: BaseException) -> None:
        @click.command("fails")
        def command() -> None:
            raise error

        module = ModuleType("dadfi_fast.cli.fails")
        module.command = command  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(LazyGroup, "list_commands", lambda _self, _ctx: ["fails"])
        monkeypatch.setattr(main_module, "COMMANDS", {"fails": "Fail."})

    yield enter


def test_every_file_is_a_command_that_help_lists(root: Path) -> None:
    files = {path.stem for path in (root / "cli").glob("*.py")} - OTHERS
    folders = {path.parent.name for path in (root / "cli").glob("*/command.py")}
    assert set(listed()) == files | folders


@pytest.mark.parametrize("name", listed())
def test_help_says_of_a_command_what_the_command_says(command: Command, name: str) -> None:
    subcommand = main_module.load(name)
    assert (subcommand.help or "").partition("\n\n")[0].replace("\n", " ").startswith(COMMANDS[name])
    assert command(name, "--help").exit_code == 0


def test_help_lists_no_command_that_does_not_exist(command: Command) -> None:
    shown = command("--help").stdout
    for name, text in COMMANDS.items():
        assert (f"  {name} " in shown) == (name in listed())
        assert (text[:40] in shown) == (name in listed())


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that is no group, with what one types."""
    for name in group.list_commands(click.Context(group)):
        below = group.get_command(click.Context(group), name)
        assert below is not None
        if isinstance(below, click.Group):
            yield from leaves(below, (*path, name))
        else:
            yield (*path, name), below


@pytest.mark.parametrize("path", [path for path, _ in leaves(main)], ids=" ".join)
def test_the_help_of_every_command_has_an_example(command: Command, path: tuple[str, ...]) -> None:
    shown = command(*path, "--help").stdout
    assert "Example" in shown and f"dadfi-fast {' '.join(path)} " in f"{shown} ".replace("\n", " ")


@pytest.mark.parametrize("line", [example for each in EXAMPLES.values() for _, example in each])
def test_the_examples_are_right_usage(line: str) -> None:
    program, *words = shlex.split(line.partition(" > ")[0])
    assert program == "dadfi-fast"
    commands = dict(leaves(main))
    path = next(path for path in commands if tuple(words[: len(path)]) == path)
    subcommand = commands[path]
    values, rest, _ = subcommand.make_parser(click.Context(subcommand)).parse_args(words[len(path) :])
    assert not rest
    for param in subcommand.params:  # choices and numbers are what they should be; files need not be there
        value = values.get(str(param.name))
        if isinstance(value, str) and not isinstance(param.type, click.Path):
            param.type.convert(value, param, None)


def test_every_example_belongs_to_a_command() -> None:
    assert set(EXAMPLES) <= {" ".join(path) for path, _ in leaves(main)}


def test_version(command: Command) -> None:
    assert command("--version").stdout.strip() == f"dadfi-fast, version {__version__}"


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("docter", "Did you mean 'doctor'?"),
        ("xyzzy", None),  # nothing is near
        ("cli", None),  # a name in the package, yet no command
        ("main", None),
        ("console", None),
        ("../doctor", None),
    ],
)
def test_an_unknown_command_is_wrong_usage(command: Command, typed: str, hint: str | None) -> None:
    done = command(typed)
    assert done.exit_code == 2 and not done.stdout
    assert f"Unknown command {typed!r}." in done.stderr
    assert hint is None or hint in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.DadfiError("x"), 1),
        (errors.UsageError("x"), 2),
        (errors.NothingToDo("x"), 3),
        (errors.CheckFailed("x"), 4),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_become_a_message_and_an_exit_code(
    command: Command, fails: Callable[[BaseException], None], error: BaseException, code: int
) -> None:
    fails(error)
    done = command("fails")
    assert done.exit_code == code and not done.stdout
    assert done.stderr == f"dadfi-fast: error: {str(error) or 'interrupted'}\n"


def test_our_own_bugs_are_not_hidden(command: Command, fails: Callable[[BaseException], None]) -> None:
    fails(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        command("fails")


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dadfi_fast.cli", "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.split()[-1]) == (0, __version__)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_stdout_is_an_error_in_words() -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "dadfi_fast.cli", "models", "list"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "stdout goes to is full" in done.stderr and "Traceback" not in done.stderr
