"""``dadfi-fast completion``: scripts that the shells take, and answers to what they ask."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from dadfi_fast.cli.completion import PROGRAM, SHELLS, VARIABLE

Command = Callable[..., Result]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_takes_its_script(command: Command, shell: str, tmp_path: Path) -> None:
    done = command("completion", shell)
    assert done.exit_code == 0 and VARIABLE in done.stdout and PROGRAM in done.stdout
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(done.stdout)
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True, timeout=60)


def test_bash_knows_the_command_afterwards(command: Command, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    (tmp_path / "script").write_text(command("completion", "bash").stdout)
    done = subprocess.run(
        [bash, "--norc", "-c", f"source {tmp_path / 'script'} && complete -p {PROGRAM}"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0 and PROGRAM in done.stdout, done.stderr


def test_another_shell_is_wrong_usage(command: Command) -> None:
    done = command("completion", "zssh")
    assert done.exit_code == 2 and "Did you mean 'zsh'?" in done.stderr


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("dadfi-fast pro", {"protect"}),
        ("dadfi-fast config s", {"show"}),
        ("dadfi-fast protect --on-e", {"--on-exists"}),
        ("dadfi-fast protect --no-face w", {"whole"}),
        ("dadfi-fast protect --backend o", {"openvino", "onnxruntime"}),
        ("dadfi-fast protect --detector y", {"yunet"}),
        ("dadfi-fast --ver", {"--version"}),
        ("dadfi-fast xyz", set()),
    ],
)
def test_what_a_shell_is_told(typed: str, expected: set[str], tmp_path: Path) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1), VARIABLE: "bash_complete"}
    code = f"import sys; sys.argv[0] = {PROGRAM!r}; from dadfi_fast.cli.main import main; main(prog_name={PROGRAM!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | words, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert {line.partition(",")[2] for line in done.stdout.split()} == expected, done.stderr
