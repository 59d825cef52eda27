"""What became of the fakes: written files through the deepfake models, as an adversary would.

The package itself can be called: ``from dadfi_fast import check`` gives `dadfi_fast.check.result.check_files`, which is
imported at the first call.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dadfi_fast.check.result import CheckResult


class _Callable(ModuleType):
    """A module that can be called; Python's documentation names this way (data model, customizing module access)."""

    def __call__(self, *args: Any, **options: Any) -> CheckResult:
        from dadfi_fast.check.result import check_files

        return check_files(*args, **options)


sys.modules[__name__].__class__ = _Callable
