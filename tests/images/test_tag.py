"""The mark of a protected photo: it goes into every packet that can take it, and is noticed in every format."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from dadfi_fast.images.tag import NAMESPACE, is_tagged, tagged

Make = Callable[..., bytes]
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
#: As Lightroom writes it: attributes, an instance of its own, padding.
LIGHTROOM = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    b' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n  <rdf:Description rdf:about="uuid:1"\n'
    b'    xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="image/jpeg"/>\n </rdf:RDF>\n</x:xmpmeta>\n'
    + b" " * 200
    + b'<?xpacket end="w"?>'
)


def properties(packet: bytes) -> dict[str, str]:
    """Our properties, as an XML parser finds them."""
    tree = ElementTree.fromstring(packet)
    descriptions = [
        each for each in tree.iter(f"{RDF}Description") if any(NAMESPACE.decode() in key for key in each.attrib)
    ]
    (description,) = descriptions
    return {key.rpartition("}")[2]: value for key, value in description.attrib.items()}


@pytest.mark.parametrize(
    ("packet", "about"),
    [
        (None, ""),
        (LIGHTROOM, "uuid:1"),
        (LIGHTROOM.replace(b"rdf:", b"r:").replace(b":rdf=", b":r="), "uuid:1"),
    ],
    ids=["none", "lightroom", "another prefix"],
)
def test_it_is_a_property_of_the_packet(packet: bytes | None, about: str) -> None:
    result = tagged(packet, strength=0.03)
    assert result is not None and is_tagged(result) and not is_tagged(packet)
    assert properties(result) == {"about": about, "Protected": "True", "Strength": "0.03"}
    if packet is not None:  # and all else is as it was
        at = result.index(NAMESPACE)
        assert result[: result.rindex(b"<", 0, at)] + result[result.index(b"/>", at) + 2 :] == packet


@pytest.mark.parametrize("packet", [None, LIGHTROOM, b"<x/>"], ids=["none", "lightroom", "no rdf"])
def test_a_second_mark_replaces_the_first(packet: bytes | None) -> None:
    once = tagged(packet, strength=0.05)
    twice = tagged(once, strength=0.03)
    assert twice == tagged(packet, strength=0.03) and twice != once
    assert twice is not None and twice.count(NAMESPACE) == 1


def test_a_packet_without_rdf_gets_an_instruction() -> None:
    result = tagged(b'<x y="1"/>', strength=0.05)
    assert result is not None and result.startswith(b'<x y="1"/><?dadfi-fast ') and is_tagged(result)
    assert ElementTree.fromstring(result).tag == "x"


@pytest.mark.parametrize(
    ("packet", "most"),
    [
        (LIGHTROOM.decode().encode("utf-16"), None),
        (LIGHTROOM.decode().encode("utf-16-be"), None),
        (LIGHTROOM, len(LIGHTROOM) + 99),
    ],
    ids=["utf-16", "utf-16 without its mark", "no room"],
)
def test_what_cannot_take_it_stays_as_it_is(packet: bytes, most: int | None) -> None:
    assert tagged(packet, strength=0.05, most=most) == packet
