"""Print how large the house is: lines of product and tests, and of each package its modules, levels and imports.

    python tools/house_stats.py [ROOT] [PACKAGE...]

A package is named from the top of ``dadfi_fast`` (``protect``, ``check.report``); without a name all are listed.
Levels: the longest chain of its modules in which each imports the next. Imports: of one of its modules by another,
inside of functions too. Only the standard library is needed, and nothing of the project is imported.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

#: Top folders of the product; the three behind the first are installed inside of it.
PRODUCT = ("dadfi_fast", "cli", "export", "kernels")
SOURCES = (".py", ".cu", ".cuh", ".js", ".css", ".html")


def main() -> None:
    """Print both tables."""
    arguments = sys.argv[1:]
    root = Path(arguments.pop(0) if arguments and Path(arguments[0]).is_dir() else ".").resolve()
    files = tracked(root)
    product = [file for file in files if file.parts[0] in PRODUCT]
    tests = [file for file in files if file.parts[0] == "tests"]
    for name, chosen in (("product", product), ("tests", tests)):
        print(f"{name:10} {len(chosen):5} files {sum(lines(root / file) for file in chosen):7} lines")
    modules = {module(file): root / file for file in product if file.suffix == ".py"}
    imports = {name: {i for i in imported(path, modules) if i != name} for name, path in modules.items()}
    print(f"\n{'package':24} {'modules':>8} {'levels':>7} {'imports':>8}")
    for package in arguments or sorted({name.split(".")[1] for name in modules if name.count(".") > 1}):
        count, levels, edges = measure(f"dadfi_fast.{package}", imports)
        print(f"{package:24} {count:8} {levels:7} {edges:8}")


def tracked(root: Path) -> list[Path]:
    """The source files that git knows, without links."""
    listed = subprocess.run(["git", "ls-files"], cwd=root, check=True, capture_output=True, text=True).stdout
    files = [Path(line) for line in listed.splitlines()]
    return [file for file in files if file.suffix in SOURCES and (root / file).is_file()]


def lines(path: Path) -> int:
    """Lines of a file, blank ones included."""
    return path.read_bytes().count(b"\n")


def module(file: Path) -> str:
    """The name that a file is imported by."""
    parts = list(file.with_suffix("").parts)
    if parts[0] != "dadfi_fast":
        parts.insert(0, "dadfi_fast")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """The modules of the product that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                name = full if full in modules else node.module
                if name in modules:
                    yield name
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)


def measure(package: str, imports: dict[str, set[str]]) -> tuple[int, int, int]:
    """Modules, levels and internal imports of a package; an ``__init__`` without imports is not counted.

    Raises:
        RecursionError: modules import each other in a circle.
    """
    names = {name for name in imports if name == package or name.startswith(f"{package}.")}
    inner = {name: imports[name] & names for name in names}
    used = {name for targets in inner.values() for name in targets}
    packages = {name.rpartition(".")[0] for name in names}
    empty = {name for name in names & packages if not inner[name] and name not in used}

    @functools.cache
    def level(name: str) -> int:
        return 1 + max((level(other) for other in inner[name]), default=0)

    counted = names - empty
    return len(counted), max(map(level, counted), default=0), sum(map(len, inner.values()))


if __name__ == "__main__":
    main()
