"""HTML that cannot be broken by what it shows: all text is escaped on its way in, and only `tag` makes markup."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable
from typing import Final, TypeAlias

#: What a file name may hold and a page must not: controls, marks that turn the direction of text, half characters.
_ODD: Final = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_SPACE: Final = re.compile(r"\s+")
#: Elements without an end.
_VOID: Final = frozenset({"img", "input", "br", "meta", "link", "rect", "line", "path", "circle"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Content: TypeAlias = "str | int | float | Iterable[Content] | None"


def escape(value: object) -> Markup:
    """``value`` as text; what would be invisible or misleading shows as a replacement character."""
    return Markup(html.escape(_ODD.sub("\ufffd", _SPACE.sub(" ", str(value)))))


def tag(name: str, /, *content: Content, **attributes: object) -> Markup:
    """An element.

    Args:
        name: of the element.
        content: text, which is escaped, markup, which is not, or iterables of them; None is left out.
        attributes: ``class_`` stands for ``class``, ``aria_label`` for ``aria-label``; True gives an attribute without
            a value, None and False none.
    """
    given = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    if name in _VOID:
        assert not content, name
        return Markup(f"<{name}{given}>" if name in ("img", "input", "br", "meta", "link") else f"<{name}{given}/>")
    return Markup(f"<{name}{given}>{join(content)}</{name}>")


def join(content: Content) -> Markup:
    """What ``content`` holds, in order."""
    if content is None:
        return Markup()
    if isinstance(content, Markup):
        return content
    if isinstance(content, str | int | float):
        return escape(content)
    return Markup("".join(map(join, content)))


def picture(data: bytes, alt: str, *, side: int, wide: int = 1, kind: str = "webp") -> Markup:
    """A picture within the page.

    Args:
        data: the file.
        alt: what it shows.
        side: pixels, of its height.
        wide: how many times as wide as high it is.
        kind: webp or png.
    """
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return tag("img", src=source, alt=alt, width=side * wide, height=side, decoding="async")


def name(text: str) -> Markup:
    """The name of a file, kept from turning the text around it."""
    return tag("bdi", text)


def _attribute(key: str, value: object) -> str:
    key = key.rstrip("_").replace("_", "-")
    if isinstance(value, bool):
        return f" {key}" if value else ""
    return f' {key}="{escape(value)}"'
