"""Compose examples/photos from public-domain pictures that lie inside the wheel of scikit-image.

Run it where scikit-image is installed (it is no dependency of this project)::

    python -m pip install scikit-image pillow && python tools/make_examples.py
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps
from skimage import data

PHOTOS: Final = Path(__file__).resolve().parent.parent / "examples" / "photos"
#: Head and shoulders in the portrait (left, top, right, bottom).
BUST: Final = (70, 0, 370, 330)
#: The same down to the bottom of the portrait.
FIGURE: Final = (70, 0, 370, 512)
#: Backdrop of the portrait, beside the head.
BACKDROP: Final = (300, 20, 370, 170)
#: The group: width in pixels, flipped, left, top, colour, brightness. Far ones first.
GROUP: Final = (
    (190, False, 590, 90, 0.6, 0.92),
    (250, True, 240, 130, 1.3, 1.0),
    (270, False, 850, 140, 0.85, 1.08),
    (350, True, -10, 310, 0.7, 0.95),
    (390, True, 890, 300, 1.2, 1.05),
    (460, False, 390, 220, 1.0, 1.0),
)
#: EXIF tags that are written: ImageDescription, Make, Orientation, Copyright.
DESCRIPTION, MAKE, ORIENTATION, COPYRIGHT = 0x010E, 0x010F, 0x0112, 0x8298


def main() -> None:
    """Write all pictures."""
    PHOTOS.mkdir(parents=True, exist_ok=True)
    writers: dict[str, Callable[[Path], None]] = {
        "portrait.jpg": portrait,
        "group.jpg": group,
        "rotated.jpg": rotated,
        "cutout.png": cutout,
        "no-face.jpg": no_face,
    }
    for name, make in writers.items():
        make(PHOTOS / name)


def astronaut() -> Image.Image:
    """Eileen Collins, NASA, 512 x 512."""
    return Image.fromarray(data.astronaut())


def portrait(path: Path) -> None:
    """The portrait as it is."""
    astronaut().save(path, quality=95, subsampling="4:4:4")


def group(path: Path) -> None:
    """Several sizes of the portrait, flipped and in other colours, before one backdrop."""
    backdrop = astronaut().crop(BACKDROP)
    canvas = backdrop.resize((1280, 720), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(40))
    for width, flipped, left, top, colour, brightness in GROUP:
        figure = astronaut().crop(FIGURE)
        figure = figure.resize((width, round(width * figure.height / figure.width)), Image.Resampling.LANCZOS)
        figure = ImageOps.mirror(figure) if flipped else figure
        figure = ImageEnhance.Brightness(ImageEnhance.Color(figure).enhance(colour)).enhance(brightness)
        canvas.paste(figure, (left, top), soft(figure.size, edge=width // 14))
    canvas.save(path, quality=92, subsampling="4:2:0", progressive=True)


def rotated(path: Path) -> None:
    """The portrait as a camera on its side stores it: EXIF orientation 6, to be turned by 90 degrees clockwise."""
    upright = astronaut().crop((40, 0, 424, 512))
    exif = Image.Exif()
    exif.update(
        {DESCRIPTION: "Eileen Collins", MAKE: "dadfi-fast examples", ORIENTATION: 6, COPYRIGHT: "NASA, public domain"}
    )
    upright.transpose(Image.Transpose.ROTATE_90).save(path, quality=90, exif=exif)


def cutout(path: Path) -> None:
    """Head and shoulders, transparent around them."""
    bust = astronaut().crop(BUST)
    bust.putalpha(soft(bust.size, edge=20))
    bust.save(path, optimize=True)


def no_face(path: Path) -> None:
    """A rocket before its launch."""
    Image.fromarray(data.rocket()).save(path, quality=90)


def soft(size: tuple[int, int], *, edge: int) -> Image.Image:
    """A mask of ``size``: an ellipse and what is below it, opaque inside and fading over about ``edge`` pixels."""
    width, height = size
    mask = Image.new("L", size, 0)
    draw = ImageDraw.Draw(mask)
    draw.rounded_rectangle((edge, edge, width - edge, height * 2), radius=width // 2 - edge, fill=255)
    return mask.filter(ImageFilter.GaussianBlur(edge / 2))


if __name__ == "__main__":
    main()
