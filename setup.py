"""Which packages there are, and where (docs/decisions/0001-layout.md). All else stands in pyproject.toml."""

from __future__ import annotations

from setuptools import find_packages, setup

#: Top folders that are installed inside the package: ``cli/`` as ``dadfi_fast.cli``, never as ``cli``.
OUTER = ("cli", "export", "kernels")

core = [
    name
    for name in find_packages(include=["dadfi_fast", "dadfi_fast.*"])
    if name.partition(".")[2].split(".")[0] not in OUTER
]
outer = [f"dadfi_fast.{name}" for folder in OUTER for name in find_packages(include=[folder, f"{folder}.*"])]

setup(
    packages=core + outer,
    package_dir={f"dadfi_fast.{folder}": folder for folder in OUTER},
    include_package_data=False,
    package_data={
        "dadfi_fast": ["py.typed"],
        "dadfi_fast.kernels": ["*.cu", "*.cuh", "*.md"],
        "dadfi_fast.weights": ["*.onnx", "*.safetensors", "*.md"],
        "dadfi_fast.check.report": ["*.html", "*.css", "*.js"],
        "dadfi_fast.training": ["recipes/*.toml"],
    },
)
