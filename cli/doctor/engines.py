"""What ``doctor`` finds out about running elsewhere: on a Ray cluster, from and to stores."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator
from typing import Final

from dadfi_fast.cli.doctor.machine import Finding

#: Scheme -> the package that fsspec needs for it, and the extra that installs it.
STORES: Final = {"s3://": ("s3fs", "s3"), "gs://": ("gcsfs", "gcs")}


def engines(*, gpus: int) -> Iterator[Finding]:
    """Who can do the work, beside this process."""
    each = f"by default one per GPU ({gpus})" if gpus > 1 else "--processes N"
    yield Finding("engine", "processes", True, f"several on this machine: {each}; never tested on GPUs")
    yield _installed("engine", "ray", "ray", "ray", "a cluster: --engine ray; on several machines never tried")


def stores() -> Iterator[Finding]:
    """Which kinds of URL SOURCE and --out may be."""
    for scheme, (package, extra) in STORES.items():
        yield _installed("store", scheme, package, extra, "SOURCE and --out may be URLs")


def _installed(kind: str, name: str, package: str, extra: str, note: str) -> Finding:
    """Looked up, not imported: Ray takes a second."""
    if importlib.util.find_spec(package) is None:
        return Finding(kind, name, False, f"{package} is not installed", f"pip install 'dadfi-fast[{extra}]'")
    return Finding(kind, name, True, f"{package} {importlib.metadata.version(package)}; {note}")
