"""docs/formats.md is true: every row is tried on a file, and read again by Pillow or tifffile."""

from __future__ import annotations

import base64
import functools
import io
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, IptcImagePlugin

from dadfi_fast.images import bmp, heif, icc, jpeg, png, tiff
from dadfi_fast.images.iptc import resources_of
from dadfi_fast.images.trailer import find_trailer
from dadfi_fast.types import Metadata

PAGE: Final = Path(__file__).parents[2] / "docs" / "formats.md"
ROW: Final = re.compile(r"^\| (?P<format>[\w .]+?) \| (?P<feature>[^|]+?) \| (?P<result>\w+) \|", re.MULTILINE)
#: Name in the page -> Pillow's, and a suffix.
FORMATS: Final = {
    "JPEG": ("JPEG", "jpg"), "PNG": ("PNG", "png"), "WebP": ("WEBP", "webp"), "TIFF": ("TIFF", "tif"),
    "BMP": ("BMP", "bmp"), "AVIF": ("AVIF", "avif"), "HEIC": ("HEIF", "heic"), "GIF": ("GIF", "gif"),
    "JPEG 2000": ("JPEG2000", "jp2"),
}  # fmt: skip
RECORDS: Final = b"\x1c\x02\x19\x00\x05alpha\x1c\x02\x5a\x00\x0aSampletown"
PROFILE: Final = icc.profile(icc.SRGB, (2.2,), "a display")
PACKET: Final = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:rights="mine" '
    b'xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="51,30N">%s</rdf:Description></rdf:RDF></x:xmpmeta>'
)


def rows() -> dict[tuple[str, str], str]:
    """What the page says, by format and feature."""
    results = {(row["format"], row["feature"]): row["result"] for row in ROW.finditer(PAGE.read_text("utf-8"))}
    return {key: result for key, result in results.items() if key[0] in FORMATS}


def smooth(height: int = 72, width: int = 104) -> Any:
    """A picture that every codec keeps well."""
    y, x = np.mgrid[:height, :width]
    return np.dstack((60 + x, 80 + y, 120 + (x + y) // 2)).clip(0, 255).astype(np.uint8)


def saved(form: str, image: Image.Image | None = None, **options: Any) -> bytes:
    """A file by Pillow."""
    heif.register()
    image = image or Image.fromarray(smooth())
    options |= {"lossless": True} if form == "WEBP" else {"quality": 95} if form in ("JPEG", "AVIF", "HEIF") else {}
    buffer = io.BytesIO()
    (image.convert("P") if form == "GIF" else image).save(buffer, form, **options)
    return buffer.getvalue()


def said(form: str, **metadata: Any) -> bytes:
    """A file that says something beside its pixels."""
    content, data = Metadata(**metadata), saved(form) if form != "TIFF" else saved(form, compression="raw")
    if form == "JPEG":
        return jpeg.with_metadata(data, content)
    if form == "PNG":
        return png.with_metadata(data, content)
    if form == "TIFF":
        return tiff.with_metadata(data, content)
    if form == "JPEG2000":
        return data + b"".join(_uuid_boxes(content))
    named = {"exif": content.exif, "xmp": content.xmp, "icc_profile": content.icc, "dpi": content.dpi}
    comment = {"comment": content.texts[0][1].encode()} if content.texts else {}
    return saved(form, **{name: value for name, value in named.items() if value} | comment)


def _uuid_boxes(metadata: Metadata) -> list[bytes]:
    names = ((b"JpgTiffExif->JP2", metadata.exif), (bytes.fromhex("be7acfcb97a942e89c71999491e3afac"), metadata.xmp))
    names += ((bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"), RECORDS if metadata.photoshop else None),)
    return [struct.pack(">I4s", 24 + len(data), b"uuid") + name + data for name, data in names if data]


def opened(data: bytes) -> Image.Image:
    """By Pillow, read to its end."""
    heif.register()
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def is_iptc_in(data: bytes, word: bytes = b"alpha") -> bool:
    """As Pillow finds it; in a PNG it is a text in hexadecimal."""
    image = opened(data)
    if image.format == "PNG":
        text = image.text.get("Raw profile type iptc", "")  # type: ignore[attr-defined]
        return word.hex() in "".join(text.split())
    return word in str(IptcImagePlugin.getiptcinfo(image) or {}).encode()


def packet(data: bytes) -> bytes:
    """The XMP packet."""
    image = opened(data)
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    if image.format == "TIFF":
        xmp = image.tag_v2.get(700, b"")  # type: ignore[attr-defined]
    return xmp.encode() if isinstance(xmp, str) else xmp


def comments(data: bytes) -> str:
    """Comments and texts."""
    image = opened(data)
    return f"{image.info.get('comment', b'')!r}{getattr(image, 'text', '')}"


def gps(data: bytes) -> bool:
    """Whether anything in the file says where it was taken."""
    return (
        bool(opened(data).getexif().get_ifd(0x8825))
        or b"GPSLatitude" in packet(data)
        or is_iptc_in(data, b"Sampletown")
    )


def bits(data: bytes) -> int:
    """Of a sample."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return 0 if pixels is None else pixels.dtype.itemsize * 8


def has_alpha(data: bytes) -> bool:
    """Whether there is any, by tifffile for TIFF."""
    if data[:2] in (b"II", b"MM"):
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            return [int(kind) for kind in file.pages[0].extrasamples] == [2]
    return "A" in opened(data).mode


def with_alpha(form: str, *, deep: bool = False) -> bytes:
    """A picture that fades out."""
    colour = smooth()
    fade = np.tile(np.linspace(0, 255, colour.shape[1]).astype(np.uint8), (colour.shape[0], 1))
    if form == "GIF":
        return saved(form, Image.fromarray(colour).quantize(16), transparency=3)
    if form == "BMP":
        return bmp.write(colour, fade, None, None)
    if deep:
        stored = np.dstack((colour[..., ::-1], fade)).astype(np.uint16) * 257
        return cv2.imencode(".png" if form == "PNG" else ".tiff", stored)[1].tobytes()
    options = {"exact": True} if form == "WEBP" else {}
    return saved(form, Image.fromarray(np.dstack((colour, fade))), **options)


def deep(form: str) -> bytes:
    """16 bits a sample; AVIF and HEIC have 10."""
    stored = smooth()[..., ::-1].astype(np.uint16) * 257
    if form in ("AVIF", "HEIF"):
        heif.register()
        import pillow_heif

        if form == "AVIF":
            return cv2.imencode(".avif", (stored >> 6).astype(np.uint16), [cv2.IMWRITE_AVIF_DEPTH, 10])[1].tobytes()
        buffer = io.BytesIO()
        image = pillow_heif.from_bytes("RGB;16", stored.shape[1::-1], stored[..., ::-1].tobytes())
        image.save(buffer, quality=90, bit_depth=10)
        return buffer.getvalue()
    suffix = {"PNG": ".png", "TIFF": ".tiff", "JPEG2000": ".jp2"}[form]
    return cv2.imencode(suffix, stored)[1].tobytes()


def animated(form: str) -> bytes:
    """Two frames, or pages."""
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("teal", "navy")]
    return saved(form, frames[0], save_all=True, append_images=frames[1:])


def turned(form: str) -> bytes:
    """A picture that is to be turned to be seen upright."""
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(smooth())))
    tag = Image.Exif()
    tag[0x0112] = 6
    return saved(form, stored, exif=tag.tobytes())


def is_upright(data: bytes) -> bool:
    """As seen, and not to be turned any more."""
    image = opened(data)
    pixels = np.asarray(image.convert("RGB")).astype(int)
    return (
        image.getexif().get(0x0112, 1) == 1 and pixels.shape == smooth().shape and np.abs(pixels - smooth()).mean() < 9
    )


def preview() -> bytes:
    """A small JPEG."""
    return saved("JPEG", Image.fromarray(smooth()).resize((32, 24)))


def exif_with(where: str) -> bytes:
    """An EXIF block with a preview in IFD1 or in the maker's notes."""
    exif, small = Image.Exif(), preview()
    exif[0x010F] = "CameraX"
    if where == "notes":
        exif.get_ifd(0x8769)[0x927C] = b"NOTES\0" + small
        return exif.tobytes()[6:]
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<HHHII", 1, 0x010F, 2, 4, 0x00585858)
    head += struct.pack("<I", 26) + struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, 56, 0x0202, 4, 1, len(small), 0)
    return head + small


def exif_block() -> bytes:
    """Maker and place."""
    exif = Image.Exif()
    exif[0x010F] = "CameraX"
    exif.get_ifd(0x8825)[1], exif.get_ifd(0x8825)[2] = "N", (51.0, 30.0, 12.0)
    return exif.tobytes()[6:]


def holds_a_picture(data: bytes) -> bool:
    """Whether there is a JPEG in it beside the file itself, as bytes or as text."""
    small = preview()
    scan = small[small.index(b"\xff\xda") :]
    return scan[20:60] in data or base64.b64encode(small)[300:400] in data


XMP_PREVIEW: Final = b'<q:Pic xmlns:q="urn:any">%s</q:Pic>'


def tail(form: str) -> bytes:
    """A JPEG with a film behind it."""
    film = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 8
    return (
        said(form, xmp=PACKET % b'<c:MotionPhoto xmlns:c="http://ns.google.com/photos/1.0/camera/">1</c:MotionPhoto>')
        + film
    )


def is_grey(data: bytes) -> bool:
    """Whether there is one channel."""
    return opened(data).mode == "L"


def resolution(data: bytes) -> float:
    """Pixels an inch, across."""
    return float(opened(data).info.get("dpi", (0, 0))[0])


def profiled(form: str) -> bytes:
    """A file with a profile; a BMP has it behind the pixels."""
    if form == "BMP":
        return bmp.write(smooth(), None, None, PROFILE)
    if form == "GIF":
        data, block = saved(form), b"\x21\xff\x0bICCRGBG1012"
        at = 13 + 3 * (2 << (data[10] & 7))
        parts = [PROFILE[n : n + 255] for n in range(0, len(PROFILE), 255)]
        return data[:at] + block + b"".join(bytes((len(part),)) + part for part in parts) + b"\0" + data[at:]
    if form != "JPEG2000":
        return said(form, icc=PROFILE)
    data, colour = saved(form), b"colr\2\0\0" + PROFILE
    header, at = data.index(b"jp2h") - 4, data.index(b"colr") - 4
    old, size = (struct.unpack_from(">I", data, place)[0] for place in (at, header))
    box = struct.pack(">I", 4 + len(colour)) + colour
    return data[:header] + struct.pack(">I", size - old + len(box)) + data[header + 4 : at] + box + data[at + old :]


Probe = tuple[Callable[[str], bytes], Callable[[bytes], bool]]
#: Feature -> what makes a file of a format that has it, and whether a file has it.
FEATURES: Final[dict[str, Probe]] = {
    "8 bits, colour": (saved, lambda data: opened(data).mode == "RGB"),
    "8 bits, grey": (lambda f: saved(f, Image.fromarray(smooth()).convert("L")), is_grey),
    "16 bits": (deep, lambda data: bits(data) == 16),
    "10 and 12 bits": (deep, lambda data: bits(data) > 8),
    "alpha": (with_alpha, has_alpha),
    "alpha, 16 bits": (functools.partial(with_alpha, deep=True), lambda data: has_alpha(data) and bits(data) == 16),
    "orientation": (turned, is_upright),
    "EXIF": (lambda f: said(f, exif=exif_block()), lambda d: opened(d).getexif().get(0x010F, "")[:7] == "CameraX"),
    "XMP": (lambda f: said(f, xmp=PACKET % b""), lambda d: b'dc:rights="mine"' in packet(d)),
    "ICC profile": (profiled, lambda d: PROFILE in (opened(d).info.get("icc_profile"), d[-len(PROFILE) :])),
    "IPTC": (lambda f: said(f, photoshop=resources_of(RECORDS)), is_iptc_in),
    "comments": (lambda f: said(f, texts=(("Comment", "a comment"),)), lambda d: "a comment" in comments(d)),
    "resolution": (lambda f: said(f, dpi=(240.0, 240.0)), lambda d: abs(resolution(d) - 240) < 1),
    "preview in EXIF": (lambda f: said(f, exif=exif_with("IFD1")), holds_a_picture),
    "preview in maker notes": (lambda f: said(f, exif=exif_with("notes")), holds_a_picture),
    "picture in XMP": (lambda f: said(f, xmp=PACKET % (XMP_PREVIEW % base64.b64encode(preview()))), holds_a_picture),
    "several frames": (animated, lambda data: False),
    "film or picture behind it": (tail, lambda data: find_trailer(data) is not None),
}  # fmt: skip
PLACES: Final = {
    "EXIF": lambda f: said(f, exif=exif_block()),
    "XMP": lambda f: said(f, xmp=PACKET % b""),
    "IPTC": lambda f: said(f, photoshop=resources_of(RECORDS)),
}  # fmt: skip


def result(form: str, before: bytes, row: dict[str, Any], out: Path, has: Callable[[bytes], bool]) -> str:
    """What became of a feature, in the page's words."""
    if row["status"] == "failed":
        return "refused"
    after = (out / row["target"]).read_bytes()
    if has(after):
        return "kept"
    if has is is_grey:
        colours = np.asarray(opened(after).convert("RGB")).astype(int)
        return "converted" if np.ptp(colours, axis=2).max() < 9 else "dropped"
    return "converted" if row["reason"] and "became" in row["reason"] else "dropped"


@pytest.mark.parametrize("key", rows(), ids=["-".join(key) for key in rows()])
def test_its_file_has_it(key: tuple[str, str]) -> None:
    """What the readers here find in files of the format at all; some things they find in results alone."""
    form = FORMATS[key[0]][0]
    make, has = FEATURES[key[1]] if key[1] in FEATURES else (PLACES[key[1].removeprefix("place in ")], gps)
    unseen = key[1].startswith(("alpha", "8 bits")) or key[1] in ("orientation", "10 and 12 bits", "several frames")
    if unseen or form in ("JPEG2000", "AVIF", "HEIF") or key == ("GIF", "ICC profile"):
        return
    assert has(make(form))


@pytest.mark.parametrize(("key", "expected"), rows().items(), ids=["-".join(key) for key in rows()])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_row(run: Any, nobody: Any, tmp_path: Path, key: tuple[str, str], expected: str) -> None:
    form, suffix = FORMATS[key[0]]
    folder = tmp_path / "in"
    folder.mkdir()
    if key[1].startswith("place in "):
        make, has = PLACES[key[1].removeprefix("place in ")], gps
        (folder / f"a.{suffix}").write_bytes(make(form))
        for detector in ({}, {"detector": nobody}):
            _, manifest_rows = run(strip_gps=True, out=tmp_path / f"out{len(detector)}", **detector)
            (row,) = manifest_rows.values()
            assert result(form, make(form), row, tmp_path / f"out{len(detector)}", has) == expected
        return
    make, has = FEATURES[key[1]]
    (folder / f"a.{suffix}").write_bytes(make(form))
    _, manifest_rows = run()
    (row,) = manifest_rows.values()
    assert result(form, make(form), row, tmp_path / "out", has) == expected, json.dumps(row)
    if expected == "dropped" and key[1] in ("EXIF", "XMP", "ICC profile", "IPTC", "comments"):
        assert "left out" in row["reason"]  # nothing goes without a word


def test_every_feature_has_its_rows() -> None:
    features = {feature for _, feature in rows()}
    assert features == {*FEATURES, *(f"place in {where}" for where in PLACES)}
    assert len(rows()) > 100
