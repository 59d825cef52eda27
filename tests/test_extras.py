"""The marker ``extras`` and the option ``--extras``: what runs, what is skipped, and what must not be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Modules that `test` is without, as tests would look for them.
MODULES = ("ray", "nvidia", "s3fs", "moto", "flask", "tensorrt_rtx", "onnx2pytorch")
#: Where they are looked for: for the marker itself, and for a server of S3, which tests of Ray use where there is one.
ALLOWED = ("conftest.py",)

TESTS = """
import pytest

def test_plain(): pass

@pytest.mark.extras("ray")
def test_wants_what_is_missing(): raise AssertionError("it ran")

@pytest.mark.extras("s3")
def test_wants_what_is_there(): pass

@pytest.mark.extras("s3")
def test_skips_by_itself(): pytest.skip("no server")

@pytest.mark.extras("s3")
@pytest.mark.skipif(True, reason="there is a GPU")
def test_is_for_machines_without_a_gpu(): pass
"""


@pytest.fixture
def outcomes(root: Path, tmp_path: Path) -> dict[str, dict[str, str]]:
    """How each of `TESTS` ends without and with the option, where all of S3 and nothing of Ray is installed."""
    conftest = (root / "tests" / "conftest.py").read_text(encoding="utf-8")
    for old, new in (('("ray",)', '("no_such_module",)'), ('("s3fs", "moto", "flask", "flask_cors")', '("json",)')):
        assert conftest.count(old) == 1
        conftest = conftest.replace(old, new)
    (tmp_path / "conftest.py").write_text(conftest, encoding="utf-8")
    (tmp_path / "test_it.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = extras: x\n", encoding="utf-8")
    return {option: _run(tmp_path, option) for option in ("", "--extras")}


def _run(folder: Path, *options: str) -> dict[str, str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", *filter(None, options)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    lines = [line.split("::test_")[1].split() for line in done.stdout.splitlines() if line.startswith("test_it.py::")]
    return {**{name: outcome for name, outcome, *_ in lines}, "exit code": str(done.returncode)}


def test_what_is_missing_is_skipped_unless_it_was_promised(outcomes: dict[str, dict[str, str]]) -> None:
    assert outcomes[""] == {
        "plain": "PASSED",
        "wants_what_is_missing": "SKIPPED",
        "wants_what_is_there": "PASSED",
        "skips_by_itself": "SKIPPED",
        "is_for_machines_without_a_gpu": "SKIPPED",
        "exit code": "0",
    }
    assert outcomes["--extras"] == {
        "wants_what_is_missing": "ERROR",  # skipped as it was set up
        "wants_what_is_there": "PASSED",
        "skips_by_itself": "FAILED",
        "is_for_machines_without_a_gpu": "SKIPPED",
        "exit code": "1",
    }


def test_no_test_decides_by_itself_that_such_a_package_is_missing(root: Path) -> None:
    """Else it would skip in continuous integration, too, without a word."""
    for path in sorted((root / "tests").rglob("*.py")):
        if path.relative_to(root / "tests").as_posix() not in ALLOWED:
            assert not _looked_for(path.read_text(encoding="utf-8")), f"{path}: mark it with pytest.mark.extras"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("pytest.importorskip('ray')", {"ray"}),
        ("torch = pytest.importorskip('nvidia.dali', reason='x')", {"nvidia.dali"}),
        ("x = importlib.util.find_spec('moto') is None", {"moto"}),
        ("pytest.importorskip('torch'); pytest.importorskip(name); print('ray')", set()),
    ],
)
def test_how_it_is_looked_for(source: str, expected: set[str]) -> None:
    assert _looked_for(source) == expected


def _looked_for(source: str) -> set[str]:
    """The modules of `MODULES` that a file looks for, in order to skip."""
    modules = set()
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.args:
            name = call.args[0].value if isinstance(call.args[0], ast.Constant) else None
            if call.func.attr in ("importorskip", "find_spec") and str(name).startswith(MODULES):
                modules.add(str(name))
    return modules


def test_ci_installs_and_runs_them(root: Path) -> None:
    script = (root / ".ci" / "run").read_text(encoding="utf-8")
    assert "--no-deps -c constraints.txt onnx2pytorch" in script
    assert "-c constraints.txt -e '.[test-all]'" in script and "-m pytest --extras" in script
    extras = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert extras["test-all"][0] == "dadfi-fast[test,dali,ray,s3,tensorrt-rtx]"
