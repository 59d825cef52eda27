"""The mark that a protected photo carries in its XMP packet, so that protecting it again is noticed.

XMP is the one kind of metadata that JPEG, PNG, WebP, TIFF, AVIF and HEIC all have, and that picture programs hand on.
BMP has none, and a website that strips metadata strips the mark. Source: XMP specification, part 1 (ISO 16684-1),
sections 7.3 (packet) and 7.4 (RDF).
"""

from __future__ import annotations

import re
from typing import Final

#: The namespace of our properties, which is in no packet but ours.
NAMESPACE: Final = b"urn:dadfi-fast:xmp:1.0/"
#: Why a photo that has the mark is skipped.
ALREADY: Final = "already protected"
_END: Final = re.compile(rb"</(\w+):RDF\s*>")
_OURS: Final = re.compile(rb"<\w+:Description\b[^<>]*" + re.escape(NAMESPACE) + rb"[^<>]*/>")
_INSTRUCTION: Final = re.compile(rb"<\?dadfi-fast [^?]*\?>")
_PACKET: Final = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


def is_tagged(xmp: bytes | None) -> bool:
    """Whether a packet says that the photo is protected."""
    return xmp is not None and NAMESPACE in xmp


def tagged(xmp: bytes | None, *, strength: float, most: int | None = None) -> bytes | None:
    """A packet with the mark in it; an older mark is replaced.

    Args:
        xmp: the packet as it is; one is made where there is none.
        strength: of the protection, on the [-1, 1] scale.
        most: bytes that the packet may have. One that would become longer stays as it is, without a mark, and so does
            one in UTF-16, which nobody writes any more.
    """
    packet = xmp or _PACKET
    if b"\0" in packet[:2] or packet[:2] in (b"\xfe\xff", b"\xff\xfe"):
        return xmp
    if NAMESPACE in packet:
        packet = _INSTRUCTION.sub(b"", _OURS.sub(b"", packet))
    facts = b'dadfi:Protected="True" dadfi:Strength="%g"' % strength
    end = _last_end(packet)
    if end is not None:
        at, prefix = end.start(), end[1]
        marked = packet[:at] + _description(packet, prefix, facts) + packet[at:]
    else:  # no RDF to put a property into: an instruction, which XML allows behind everything
        marked = packet + b"<?dadfi-fast " + NAMESPACE + b" " + facts + b"?>"
    return marked if most is None or len(marked) <= most else xmp


def _last_end(packet: bytes) -> re.Match[bytes] | None:
    """The last end of an RDF element, which in most packets is the last thing of that name."""
    named = packet.rfind(b":RDF")
    match = _END.match(packet, max(0, packet.rfind(b"</", 0, max(0, named))))
    if match is not None and match.end(1) == named:
        return match
    return next(reversed(list(_END.finditer(packet))), None)


def _description(packet: bytes, prefix: bytes, facts: bytes) -> bytes:
    """A description of the same thing as the packet's others, as all in a packet must be."""
    about = re.search(rb"\b" + prefix + rb""":about\s*=\s*("[^"]*"|'[^']*')""", packet)
    parts = (prefix, prefix, about[1] if about else b'""', NAMESPACE, facts)
    return b'<%s:Description %s:about=%s xmlns:dadfi="%s" %s/>' % parts
