"""The shim for TensorRT: with a stand-in on the CPU, and for real with TensorRT for RTX where it is installed."""

from __future__ import annotations

import types
from dataclasses import replace

import pytest

from dadfi_fast.backends import cuda
from dadfi_fast.backends.float16 import to_float16
from dadfi_fast.backends.generator_file import GeneratorFile, load_generator_file
from dadfi_fast.backends.tensorrt import build
from dadfi_fast.errors import DadfiError, UsageError
from dadfi_fast.export.fused import fuse
from dadfi_fast.model_card import cards

SHIPPED = [card.name for card in cards() if card.family == "generator"]


@pytest.fixture
def fused(generator: GeneratorFile) -> bytes:
    """The generator that ships, with fused nodes."""
    return fuse(generator.onnx.read_bytes())


class TestShim:
    def test_an_engine_knows_its_profiles(self, flavour: build.Flavour, generator: GeneratorFile) -> None:
        built = build.build(flavour, generator.onnx.read_bytes(), timings=b"known")
        assert built.timings == b"known+"  # handed in, and what came of it handed out
        engine = build.deserialise(flavour, built.engine)
        assert engine.profiles == [[list(shape) for shape in profile.shapes()] for profile in build.PROFILES]

    def test_damaged_timings_are_left_out(self, flavour: build.Flavour) -> None:
        assert build.build(flavour, b"model", timings=b"damaged").timings == b"+"

    def test_what_cannot_be_read_is_told_with_its_reason(self, flavour: build.Flavour) -> None:
        with pytest.raises(DadfiError, match="cannot read the generator: reason 0"):
            build.build(flavour, b"no model")

    def test_what_cannot_be_loaded_is_told_with_its_reason(self, flavour: build.Flavour) -> None:
        for _ in range(2):  # a reason is told once
            with pytest.raises(DadfiError, match=r"cannot load the engine: this is no engine$"):
                build.deserialise(flavour, b"xyz")

    def test_profiles_that_make_no_sense(self, flavour: build.Flavour) -> None:
        with pytest.raises(UsageError, match="min <= opt <= max"):
            build.build(flavour, b"model", profiles=[build.Profile((2, 1, 3), (16, 32, 64))])

    def test_fused_nodes_want_our_kernels_and_lose_their_meaning(
        self, flavour: build.Flavour, fused: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registered: list[bool] = []
        table = {"tensorrt": lambda: lambda: registered.append(True)}
        monkeypatch.setattr(build, "KERNELS", table)
        takes = replace(flavour, plugins=True)
        assert len(build.build(takes, fused).engine) < len(build.build(flavour, fused).engine)
        assert registered == [True]  # not for the flavour that takes none

    def test_an_architecture_is_for_those_that_build_ahead(self, flavour: build.Flavour) -> None:
        with pytest.raises(UsageError, match="Remove the architecture"):
            build.build(flavour, b"model", architecture="sm89")


@pytest.mark.parametrize(
    ("shape", "held"),
    [
        ((1, 3, 16, 512), True),
        ((32, 3, 256, 256), True),
        ((33, 3, 256, 256), False),
        ((1, 3, 12, 64), False),
        ((1, 3, 64, 516), False),
    ],
    ids=str,
)
def test_what_a_profile_holds(shape: tuple[int, ...], held: bool) -> None:
    assert build.PROFILES[-1].holds(shape) is held


class TestMissing:
    def test_not_installed(self) -> None:
        flavour = build.Flavour("x", ("no_such_module_",), (1, 0), "pip install x", ahead_of_time=False)
        assert flavour.missing() == "x is not installed. Run: pip install x"
        assert not flavour.installed

    @pytest.mark.parametrize(("version", "old"), [("10.15.9", True), ("10.16.0", False), ("11.4.1.7", False)])
    def test_too_old(self, monkeypatch: pytest.MonkeyPatch, version: str, old: bool) -> None:
        monkeypatch.setattr(build.Flavour, "load", lambda self: types.SimpleNamespace(__version__=version))
        why = build.TENSORRT.missing()
        assert (why is not None) == old
        assert not old or "10.15.9 is older than 10.16; run: pip" in why

    def test_libraries_that_do_not_load(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
        flavour = build.Flavour("x", ("no_such_module_",), (1, 0), "pip install x", ahead_of_time=False)
        assert "cannot load" in str(flavour.missing())


@pytest.mark.extras("tensorrt-rtx")
class TestForReal:
    """TensorRT for RTX builds for GPUs that are not there."""

    @pytest.mark.parametrize("architecture", ["sm80", "sm89", "sm120"])
    @pytest.mark.parametrize("precision", ["f32", "f16"])
    @pytest.mark.parametrize("name", SHIPPED)
    def test_builds_a_generator_that_ships(self, name: str, architecture: str, precision: str) -> None:
        model = load_generator_file(name).onnx.read_bytes()
        built = build.build(
            build.TENSORRT_RTX, to_float16(model) if precision == "f16" else model, architecture=architecture
        )
        assert len(built.engine) > len(model) / 2
        assert built.timings == b""  # RTX keeps none

    def test_builds_fused_nodes_by_their_meaning(self, fused: bytes) -> None:
        """It takes no kernels of others."""
        built = build.build(build.TENSORRT_RTX, to_float16(fused), architecture="sm89")
        assert len(built.engine) > len(to_float16(fused)) / 2

    def test_knows_its_architectures(self) -> None:
        assert {"sm80", "sm89", "sm120"} <= set(build.architectures(build.TENSORRT_RTX))
        with pytest.raises(UsageError, match=r"'sm10'\. Available: sm"):
            build.build(build.TENSORRT_RTX, b"", architecture="sm10")

    def test_what_is_no_model_is_refused(self) -> None:
        with pytest.raises(DadfiError, match="tensorrt-rtx"):
            build.build(build.TENSORRT_RTX, b"no model", architecture="sm89")

    @pytest.mark.skipif(cuda.missing() is None, reason="there is a GPU, and it may load the engine")
    def test_without_a_gpu_an_engine_is_not_loaded_and_the_reason_is_told(self, generator: GeneratorFile) -> None:
        built = build.build(build.TENSORRT_RTX, generator.onnx.read_bytes(), architecture="sm89")
        with pytest.raises(DadfiError, match=r"cannot load the engine: .*Cuda"):
            build.deserialise(build.TENSORRT_RTX, built.engine)

    def test_the_stand_in_has_nothing_that_the_real_one_lacks(self, flavour: build.Flavour) -> None:
        """Names that tests call on the stand-in exist in the real module, under the same classes."""
        import importlib

        fake = flavour.load()
        real = next(
            importlib.import_module(name) for name in build.TENSORRT_RTX.modules if importlib.util.find_spec(name)
        )
        classes = {
            "Builder": fake.Builder,
            "OnnxParser": fake.OnnxParser,
            "Runtime": fake.Runtime,
            "IBuilderConfig": fake.Builder.create_builder_config(None).__class__,
            "IRuntimeConfig": fake.IRuntimeConfig,
            "IRuntimeCache": fake.IRuntimeCache,
        }
        for name, stand_in in classes.items():
            public = {entry for entry in vars(stand_in) if not entry.startswith("_")}
            assert public <= set(dir(getattr(real, name))), name
