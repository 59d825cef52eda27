"""The images: pinned, not run as root, made of files that are there; and the commands in docs/containers.md are right.

Building them takes a network and a builder, so that is done where both are: `podman build`, as the page says.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import click
import pytest

from dadfi_fast.cli.protect.command import command as protect

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILES = ("Containerfile.cpu", "Containerfile.gpu")
#: A version to the last digit, or a digest.
PINNED = re.compile(r"^[\w./-]+(:\d+\.\d+\.\d+[\w.-]*|@sha256:[0-9a-f]{64})$")


@pytest.fixture(params=FILES)
def steps(root: Path, request: pytest.FixtureRequest) -> list[tuple[str, str]]:
    """The instructions of a file, with what follows each; comments left out, lines that go on joined."""
    text = (root / "containers" / request.param).read_text(encoding="utf-8")
    lines = re.sub(r"\\\n\s*", "", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    pairs = [line.split(maxsplit=1) for line in lines.splitlines() if line.strip()]
    return [(word, rest) for word, rest in pairs]


def arguments_of(steps: list[tuple[str, str]], word: str) -> list[str]:
    """What follows each ``word``."""
    return [rest for instruction, rest in steps if instruction == word]


def test_the_bases_are_pinned(steps: list[tuple[str, str]]) -> None:
    bases = [rest.partition(" AS ")[0] for rest in arguments_of(steps, "FROM")]
    assert len(set(bases)) == 1 and all(PINNED.match(base) for base in bases), bases
    python = tuple(int(part) for part in re.findall(r"python:(\d+)\.(\d+)", bases[0])[0])
    assert (3, 10) <= python <= (3, 13)


def test_it_does_not_run_as_root(steps: list[tuple[str, str]]) -> None:
    (user,) = arguments_of(steps, "USER")
    number, group = user.split(":")
    assert int(number) >= 1000 <= int(group)
    words = [word for word, _ in steps]
    assert words.index("USER") > max(at for at, word in enumerate(words) if word in ("RUN", "COPY"))
    assert f"--uid {number} " in " ".join(arguments_of(steps, "RUN"))


def test_what_is_copied_is_there(steps: list[tuple[str, str]], root: Path) -> None:
    copied = [rest.split()[:-1] for rest in arguments_of(steps, "COPY") if not rest.startswith("--from=build")]
    names = {name for each in copied for name in each}
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", "dadfi_fast", "cli", "export", "kernels"} <= names
    assert all((root / name).exists() for name in names)
    assert "ADD" not in [word for word, _ in steps]


def test_what_is_installed_is_pinned_and_has_a_name(steps: list[tuple[str, str]], root: Path) -> None:
    (install,) = [rest for rest in arguments_of(steps, "RUN") if "pip install" in rest]
    words = shlex.split(install.rpartition("&&")[2])
    assert words[words.index("--constraint") + 1] == "constraints.txt"
    extras = re.fullmatch(r"\.\[([\w,]+)\]", words[-1])
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    assert extras and set(extras[1].split(",")) <= set(settings["project"]["optional-dependencies"])


def test_it_is_the_program(steps: list[tuple[str, str]], root: Path) -> None:
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    (entry,), (default,) = arguments_of(steps, "ENTRYPOINT"), arguments_of(steps, "CMD")
    assert json.loads(entry)[0] in settings["project"]["scripts"] and json.loads(default) == ["--help"]


def test_the_two_differ_only_in_what_the_gpu_needs(root: Path) -> None:
    cpu, gpu = ((root / "containers" / name).read_text(encoding="utf-8").splitlines() for name in FILES)
    mine, theirs = set(cpu) - set(gpu), set(gpu) - set(cpu)
    assert [line for line in mine if not line.startswith("#")] == [line for line in mine if ".[heif]" in line]
    assert all(line.startswith("#") or "NVIDIA" in line or ".[gpu,heif]" in line for line in theirs)


def commands(page: str) -> list[list[str]]:
    """The arguments of dadfi-fast in every ``run`` of an image on the page."""
    joined = re.sub(r"\\\n\s*", " ", page)
    matches = re.findall(r"^(?:ExecStart=|0 3 \* \* \* )?(?:podman|docker) run .*$", joined, re.MULTILINE)
    return [shlex.split(line)[-len(re.split(r" dadfi-fast(?::gpu)? ", line)[1].split()) :] for line in matches]


def test_the_commands_on_the_page_are_right_usage(root: Path) -> None:
    page = (root / "docs" / "containers.md").read_text(encoding="utf-8")
    calls = commands(page)
    assert len(calls) == 5 and {words[0] for words in calls} == {"protect", "doctor"}
    for words in (each for each in calls if each[0] == "protect"):
        values, rest, _ = protect.make_parser(click.Context(protect)).parse_args(words[1:])
        assert not rest and values["out"] == "/protected" and values["sources"] == ("/photos",)
    for name in FILES:
        assert f"containers/{name}" in page
