"""What the program says: results go to stdout; progress, messages and errors go to stderr.

Colours are used on a terminal only, and never where the environment has ``NO_COLOR`` (https://no-color.org). Names of
files reach no terminal as they are: `visible` escapes what could move the cursor, change colours or fake a line.
"""

from __future__ import annotations

import io
import json as _json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Final

import click

from dadfi_fast.files import json_safe

#: Cells of the widest table: lines are never broken.
WIDTH: Final = 100_000
#: Control characters, line and paragraph separators, what turns the direction of writing, and halves of characters:
#: bytes of a name that are no UTF-8 come as such.
_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """``text`` in one line that can be shown on any terminal: control characters and the like become escapes."""
    return _UNSEEN.sub(_escape, text)


def result(text: str) -> None:
    """Print a result on stdout: a line, or several; of control characters only line ends and tabs stay."""
    _echo(_UNSEEN.sub(lambda match: match[0] if match[0] in "\n\t" else _escape(match), text))


def json(value: object) -> None:
    """Print ``value`` on stdout as JSON: NaN becomes null, what JSON does not know (paths) becomes text.

    In UTF-8, whatever the terminal's encoding; what `visible` escapes stands there as ``\\uXXXX``.
    """
    text = _json.dumps(json_safe(value), ensure_ascii=False, default=str, allow_nan=False, indent=2)
    click.echo(_UNSEEN.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text).encode())


def message(text: str) -> None:
    """Say something about the run: a line on stderr."""
    _echo(visible(text), err=True)


def error(text: str) -> None:
    """Say what went wrong: a line ``dadfi-fast: error: ...`` on stderr."""
    _echo(f"dadfi-fast: {click.style('error:', fg='red', bold=True)} {visible(text)}", err=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on stdout; columns that hold only numbers are set to the right, None is shown as ``-``.

    Args:
        columns: the heads.
        rows: as many cells each as there are columns; floats are shown with four significant digits.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [list(row) for row in rows]
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), collapse_padding=True)
    for index, name in enumerate(columns):
        numbers = bool(cells) and all(isinstance(row[index], int | float | None) for row in cells)
        grid.add_column(Text(name), justify="right" if numbers else "left", no_wrap=True)
    for row in cells:
        grid.add_row(*(Text(_cell(cell)) for cell in row))
    text = io.StringIO()
    Console(file=text, width=WIDTH, color_system=None).print(grid)
    head, *lines = (line.rstrip() for line in text.getvalue().splitlines())
    for line in (click.style(head, bold=True), *lines):
        _echo(line)


def color() -> bool | None:
    """False where colours are unwanted; None leaves it to click, which knows terminals."""
    return False if os.environ.get("NO_COLOR") else None


def _echo(text: str, *, err: bool = False) -> None:
    try:
        click.echo(text, err=err, color=color())
    except UnicodeEncodeError as error:  # of a stream that is not UTF-8
        click.echo(text.encode(error.encoding, "backslashreplace").decode(error.encoding), err=err, color=color())


def _escape(match: re.Match[str]) -> str:
    """``\\x1b``, ``\\n`` or ``\\u202e``; a byte of a name that is no UTF-8 is written as that byte."""
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else match[0].encode("unicode_escape").decode()


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else visible(str(value))
