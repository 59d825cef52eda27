"""nvImageCodec on a CPU: tables, sampling and size as asked for, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import simplejpeg

from dadfi_fast.backends import cuda
from dadfi_fast.errors import BackendMissing
from dadfi_fast.images.encode import JpegSettings, jpeg_settings
from dadfi_fast.images.jpeg import read_header
from dadfi_fast.protect.gpu import nvimgcodec
from dadfi_fast.protect.gpu.nvimgcodec import EncodeRequest, NvImageCodec, takes
from dadfi_fast.types import Encoding, UInt8

torch = pytest.importorskip("torch", reason="torch is not installed")

Smooth = Callable[[int, int], UInt8]
needs_codec = pytest.mark.extras("dali")


def settings(mode: str = "RGB", quality: int | None = None, **options: Any) -> JpegSettings:
    """Of a JPEG that was stored like this."""
    return jpeg_settings(Encoding("JPEG", mode, **options), quality)


@pytest.mark.parametrize(
    ("how", "taken"),
    [
        (settings(quality=90, subsampling="4:2:0"), True),
        (settings(quality=90, subsampling="4:4:0"), True),
        (settings("L", quality=90), True),
        (settings(quantization=settings(quality=77).tables), True),  # the tables are those of a quality
        (settings(quantization=((7,) * 64, (9,) * 64)), False),  # it takes no tables
        (settings(quality=90, progressive=True), False),
        (settings(), True),  # of another format: the usual quality
    ],
)
def test_the_rule(how: JpegSettings, taken: bool) -> None:
    assert takes(how) is taken


@pytest.fixture
def codec() -> NvImageCodec:
    return NvImageCodec(threads=1)


@needs_codec
@pytest.mark.parametrize("quality", [1, 35, 50, 75, 92, 100])
@pytest.mark.parametrize("sampling", ["4:4:4", "4:4:0", "4:2:2", "4:2:0", "4:1:1", None])
def test_tables_and_sampling_are_kept(codec: NvImageCodec, smooth: Smooth, quality: int, sampling: str | None) -> None:
    how = settings("RGB" if sampling else "L", quality, subsampling=sampling)
    pixels = smooth(61, 83) if sampling else np.repeat(smooth(61, 83)[..., :1], 3, axis=2)
    (stream,) = codec([EncodeRequest(torch.from_numpy(pixels), how)])
    assert stream is not None
    header = read_header(stream)
    assert header.tables == how.tables[: len(header.tables)] and header.subsampling == sampling
    if quality >= 75:
        back = simplejpeg.decode_jpeg(stream, "RGB", fastdct=False)
        usual = simplejpeg.encode_jpeg(
            pixels, quality=quality, colorsubsampling=(sampling or "4:4:4").replace(":", ""), fastdct=False
        )
        ours, theirs = (
            np.abs(each.astype(int) - pixels).mean() for each in (back, simplejpeg.decode_jpeg(usual, "RGB"))
        )
        assert ours < 1.2 * theirs + 0.5


@needs_codec
def test_a_batch_of_all_sorts(codec: NvImageCodec, smooth: Smooth) -> None:
    hows = [
        settings(quality=90),
        settings(quality=60),
        settings(quality=90, progressive=True),
        settings("L", quality=90),
    ]
    jobs = [EncodeRequest(torch.from_numpy(smooth(20 + 31 * n, 50)), hows[n % 4]) for n in range(12)]
    streams = codec(jobs)
    assert [stream is None for stream in streams] == [False, False, True, False] * 3
    for job, stream in zip(jobs, streams, strict=True):
        if stream is not None:
            header = read_header(stream)
            assert (header.height, header.width) == tuple(job.pixels.shape[:2])
            assert header.tables == job.settings.tables[: len(header.tables)]
    assert codec([]) == []


@needs_codec
def test_photos_go_by_settings_and_size(codec: NvImageCodec, smooth: Smooth, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[tuple[int, int | None]]] = []
    once = codec._encoded

    def told(jobs: Any) -> Any:
        calls.append([(job.pixels.shape[0], job.settings.quality) for job in jobs])
        return once(jobs)

    monkeypatch.setattr(codec, "_encoded", told)
    sizes = [(70, 90), (75, 90), (70, 80), (260, 90), (270, 90), (71, 90)]
    codec([EncodeRequest(torch.from_numpy(smooth(side, 64)), settings(quality=quality)) for side, quality in sizes])
    assert calls == [[(70, 90), (75, 90), (71, 90)], [(70, 80)], [(260, 90), (270, 90)]]


@needs_codec
@pytest.mark.parametrize("change", ["tables", "sampling", "size", "rubbish", "nothing"])
def test_a_stream_that_is_not_as_asked_is_not_taken(
    codec: NvImageCodec, smooth: Smooth, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    job = EncodeRequest(torch.from_numpy(smooth(40, 50)), settings(quality=90, subsampling="4:2:0"))
    others = {
        "tables": replace(job, settings=settings(quality=91, subsampling="4:2:0")),
        "sampling": replace(job, settings=settings(quality=90, subsampling="4:4:4")),
        "size": replace(job, pixels=torch.from_numpy(smooth(40, 51))),
    }
    if change in others:
        streams = codec._encoded([others[change]])
    else:
        streams = [b"\xff\xd8 not a JPEG" if change == "rubbish" else None]
    monkeypatch.setattr(codec, "_encoded", lambda jobs: streams)
    assert codec([job]) == [None]


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvimgcodec.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendMissing, match=r"nvImageCodec is not installed; run: pip install 'dadfi-fast\[dali\]'"):
        NvImageCodec()


@needs_codec
@pytest.mark.skipif(cuda.missing() is None, reason="there is a GPU")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(BackendMissing, match="nvImageCodec cannot run: "):
        NvImageCodec(device="cuda")


@pytest.mark.gpu
@needs_codec
def test_the_card_keeps_tables_and_sampling(smooth: Smooth) -> None:
    """Has never run. Streams with other tables would come back as None, and be written by the CPU."""
    jobs = [
        EncodeRequest(torch.from_numpy(smooth(300 + n, 401)).cuda(), settings(quality=q, subsampling=s))
        for n, (q, s) in enumerate(((75, "4:2:0"), (92, "4:2:2"), (100, "4:4:4")))
    ]
    assert None not in NvImageCodec(device="cuda")(jobs)
