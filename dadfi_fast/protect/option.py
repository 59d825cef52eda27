"""Fields of dataclasses that are options: the command line, TOML files and the docs follow from them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final, Literal

#: The sections of ``protect --help``, in their order.
CHANGED: Final = "What is changed"
WRITTEN: Final = "What is written"
RUN: Final = "How it runs"
REPORTED: Final = "What is measured and reported"
SECTIONS: Final = (CHANGED, WRITTEN, RUN, REPORTED)

_KEY: Final = "option"
#: How an option's text becomes the field's value, where the type does not tell.
Form = Literal["count or auto", "percentage", "quality", "size"]


@dataclass(frozen=True, kw_only=True)
class Option:
    """What the type and the name of a field do not tell."""

    section: str
    help: str | None = None  # None: several commands share the option, and it is described once for all of them
    flag: str | None = None  # where it is not the field's name
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    shown: str | None = None  # the default as a user writes it, where it is not the field's
    form: Form | None = None
    low: float | None = None  # smallest value; checked by the command line
    high: float | None = None
    exclusive: bool = False  # ``low`` itself is too small


def option(default: Any = dataclasses.MISSING, **facts: Any) -> Any:
    """A field of a dataclass that is an option.

    Args:
        default: of the field; none: the option must be given.
        facts: fields of `Option`.
    """
    return dataclasses.field(default=default, metadata={_KEY: Option(**facts)})


def option_of(field: dataclasses.Field[Any]) -> Option | None:
    """The option that a field is; None if it is none."""
    facts = field.metadata.get(_KEY)
    return facts if isinstance(facts, Option) else None
