"""dadfi-fast: protects photos of faces against deepfake models, at the speed of their codec.

    from dadfi_fast import Protector, check

`Protector` is imported when it is first used, and `check` is a package that can be called: importing dadfi_fast alone
loads no framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dadfi_fast.api import Protector
    from dadfi_fast.check.result import check_files as check

__all__ = ["Protector", "check"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Protector":
        from dadfi_fast.api import Protector

        return Protector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
