"""Tables of named entries (backends, detectors, attacks, recipes), with an error that names the nearest entry."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from dadfi_fast.errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """Name -> entry, in order of registration.

    Example::

        BACKENDS: Registry[type[Backend]] = Registry("backend")

        @BACKENDS.add("openvino")
        class OpenVINO(Backend): ...
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str) -> _Adder[T]:
        """A decorator that enters what it decorates as ``name``."""
        assert name not in self._entries, f"{self.kind} {name} is entered twice"
        return _Adder(self._entries, name)

    def __getitem__(self, name: str) -> T:
        """The entry ``name``.

        Raises:
            UsageError: there is none; the message lists the names and the nearest one.
        """
        if name in self._entries:
            return self._entries[name]
        hint = did_you_mean(name, self._entries)
        raise UsageError(f"unknown {self.kind} {name!r}{hint}. Available: {', '.join(self._entries)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries


def did_you_mean(name: str, known: Iterable[str], *, sentence: bool = False) -> str:
    """`` (did you mean 'x'?)``, x being the nearest of the ``known`` names; empty where none is near.

    Args:
        name: what was given.
        known: what there is.
        sentence: as a sentence of its own, behind a full stop: `` Did you mean 'x'?``.
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    if not near:
        return ""
    return f" Did you mean {near[0]!r}?" if sentence else f" (did you mean {near[0]!r}?)"


def lazy(module: str, name: str) -> Callable[[], Any]:
    """An entry that is imported when it is called: listing a table then loads no framework."""

    def load() -> Any:
        return getattr(importlib.import_module(module), name)

    return load


class _Adder(Generic[T]):
    def __init__(self, entries: dict[str, T], name: str) -> None:
        self.entries, self.name = entries, name

    def __call__(self, entry: T) -> T:
        self.entries[self.name] = entry
        return entry
