from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from dadfi_fast.check.conditions import WRITTEN, parse
from dadfi_fast.check.preprocess import read
from dadfi_fast.errors import DataError, UsageError
from dadfi_fast.evaluate.experiment import Progress
from dadfi_fast.evaluate.methods import generators
from dadfi_fast.evaluate.protocol import Form, noise_before, open_protocol

MakeSetup = Callable[..., Any]


def test_what_is_written_goes_the_way_of_protect(make_setup: MakeSetup) -> None:
    setup = make_setup()
    (method,) = generators(setup)
    with open_protocol(setup) as protocol, protocol.written(method) as pairs:
        assert len(pairs) == 3
        for pair in pairs:
            before, after = read(pair.original).astype(int), read(pair.protected).astype(int)
            assert np.abs(after - before).max() == 6  # 0.05 of [-1, 1], rounded
            assert pair.protected.suffix == ".png"
        folder = pairs[0].protected.parent
    assert not folder.exists()


def test_the_check_counts_and_judges(make_setup: MakeSetup) -> None:
    ticks: list[int] = []
    setup = make_setup(progress=Progress(tick=ticks.append))
    (method,) = generators(setup)
    with open_protocol(setup) as protocol, protocol.written(method) as pairs:
        result = protocol.check(pairs, conditions=[parse("jpeg:50")])
    assert result.models == ("fragile", "sturdy") and result.conditions == ("written", "jpeg:50")
    assert result.success("fragile") > 0.5 and result.success("sturdy") == 0
    assert sum(ticks) == 6  # protected, then checked


def test_unchanged_pictures_stay_as_they_are(make_setup: MakeSetup) -> None:
    with open_protocol(make_setup()) as protocol, protocol.written(protocol.unchanged()) as pairs:
        assert all(np.array_equal(read(pair.original), read(pair.protected)) for pair in pairs)


def test_a_picture_without_a_face_is_written_whole_or_left_out(make_setup: MakeSetup) -> None:
    setup = make_setup(detector="libfacedetection")
    with open_protocol(setup) as protocol:
        with protocol.written(protocol.unchanged()) as pairs:
            assert len(pairs) == 3
        with protocol.written(protocol.unchanged(), Form("keep", "copy")) as pairs:
            assert not pairs


def test_facts_name_what_was_used(make_setup: MakeSetup) -> None:
    setup = make_setup(models=("sturdy",), seed=7, command="the command")
    (method,) = generators(setup)
    with open_protocol(setup) as protocol:
        facts, control = protocol.facts(method, ["sturdy"]), protocol.facts()
    assert list(facts["models"]) == ["sturdy"] and len(facts["generator"]) == 64
    assert (facts["n"], facts["seed"], facts["command"]) == (3, 7, "the command")
    assert facts["detector"].startswith("none (") and facts["runs_on"].startswith("openvino-cpu")
    assert control["generator"] is None and control["runs_on"] is None


def test_a_damaged_picture_is_named(make_setup: MakeSetup, faces: Path) -> None:
    data = (faces / "60.png").read_bytes()
    (faces / "bad.png").write_bytes(data[: len(data) // 2])
    refused = pytest.raises(DataError, match=r"bad\.png.*Remove the image")
    with open_protocol(make_setup()) as protocol, refused, protocol.written(protocol.unchanged()):
        pass


@pytest.mark.parametrize(
    ("changes", "message"), [({"models": ("sturdi",)}, "did you mean 'sturdy'"), ({"detector": "nobody"}, "detector")]
)
def test_wrong_names(make_setup: MakeSetup, changes: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message), open_protocol(make_setup(**changes)):
        pass


def test_a_strength_out_of_range(make_setup: MakeSetup) -> None:
    setup = make_setup(strength=0.3)
    with (
        open_protocol(setup) as protocol,
        pytest.raises(UsageError, match="--strength"),
        protocol.written(protocol.unchanged()),
    ):
        pass


def test_noise_comes_before_the_treatment() -> None:
    picture = np.full((8, 8, 3), 100, np.uint8)
    protected = np.full((8, 8, 3), 50, np.uint8)
    noisy = noise_before(0.05, WRITTEN)
    original, moved = noisy.treat(picture, protected)
    assert noisy.name == "noise:0.05 written" and np.array_equal(original, picture)
    assert 0 < np.abs(moved.astype(int) - 100).max() <= 6  # of the original, not of what was protected
    small = noise_before(0.05, parse("resize:0.5"))
    assert [side.shape for side in small.treat(picture, protected)] == [(4, 4, 3)] * 2
