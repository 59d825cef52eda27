from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import pytest
import torch

from dadfi_fast.deepfakes.landmarks import LANDMARKS, SIDE, MaskedGenerator, MaskNetwork, load, load_masks, masks_of
from dadfi_fast.deepfakes.stargan2 import Generator, StyledGenerator

Shape: TypeAlias = tuple[int, ...]


def norm(name: str, width: int) -> dict[str, Shape]:
    kept = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (width,))
    return {f"{name}.{k}": shape for k, shape in kept.items()} | {f"{name}.num_batches_tracked": ()}


def conv(name: str, source: int, width: int, kernel: int, *, bias: bool = True) -> dict[str, Shape]:
    return {f"{name}.weight": (width, source, kernel, kernel)} | ({f"{name}.bias": (width,)} if bias else {})


def block(name: str, source: int, width: int) -> dict[str, Shape]:
    half, quarter = width // 2, width // 4
    table = norm(f"{name}.bn1", source) | conv(f"{name}.conv1", source, half, 3, bias=False)
    table |= norm(f"{name}.bn2", half) | conv(f"{name}.conv2", half, quarter, 3, bias=False)
    table |= norm(f"{name}.bn3", quarter) | conv(f"{name}.conv3", quarter, quarter, 3, bias=False)
    if source != width:
        table |= norm(f"{name}.downsample.0", source) | conv(f"{name}.downsample.2", source, width, 1, bias=False)
    return table


def official() -> dict[str, Shape]:
    """Names and shapes of the official ``FAN`` (num_modules=1, 98 landmarks), layer by layer."""
    table = conv("conv1.conv", 3 + 3, 64, 7) | norm("bn1", 64)  # picture and x, y, r
    table |= block("conv2", 64, 128) | block("conv3", 128, 128) | block("conv4", 128, 256)
    table |= conv("m0.coordconv.conv", 256 + 3, 256, 1)
    inside = [f"{branch}_{level}" for level in (1, 2, 3, 4) for branch in ("b1", "b2", "b3")]
    for name in [*inside, "b2_plus_1"]:
        table |= block(f"m0.{name}", 256, 256)
    table |= block("top_m_0", 256, 256) | conv("conv_last0", 256, 256, 1) | norm("bn_end0", 256)
    return table | conv("l0", 256, 98 + 1, 1)


@pytest.fixture(scope="module")
def network() -> MaskNetwork:
    """Random, with statistics that keep the signal alive through its depth."""
    torch.manual_seed(0)
    return MaskNetwork()


def test_names_and_shapes_are_the_official_ones(network: MaskNetwork) -> None:
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == official()


def test_the_official_part_loads_unchanged(network: MaskNetwork) -> None:
    state = {name: torch.full(shape, 0.5) for name, shape in official().items()}
    loaded = load_masks(state)
    assert loaded.bn_end0.running_var.eq(0.5).all()
    weights = [shape for name, shape in official().items() if name.endswith((".weight", ".bias"))]
    assert sum(p.numel() for p in loaded.parameters()) == sum(torch.Size(shape).numel() for shape in weights)
    with pytest.raises(RuntimeError, match="Missing key"):
        load_masks({name: value for name, value in state.items() if not name.startswith("l0.")})


def test_masks_are_in_range_and_give_no_gradient(network: MaskNetwork) -> None:
    picture = (torch.rand(2, 3, 64, 64) * 2 - 1).requires_grad_()
    for mask in network.masks(picture):
        assert mask.shape == (2, 1, SIDE, SIDE)
        assert mask.min() >= 0 and mask.max() <= 1
        assert not mask.requires_grad


def test_statistics_are_never_the_pictures_own(network: MaskNetwork) -> None:
    network.train()
    before = network.bn1.running_mean.clone()
    picture = torch.rand(2, 3, SIDE, SIDE) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(network(picture)[:1], network(picture[:1]))
    assert torch.equal(network.bn1.running_mean, before)


def test_the_network_sees_pictures_from_0_to_1(network: MaskNetwork) -> None:
    batches: list[torch.Tensor] = []
    hook = network.conv1.register_forward_pre_hook(lambda _, inputs: batches.append(inputs[0]))
    network(torch.full((1, 3, SIDE, SIDE), -0.5))
    hook.remove()
    assert batches[0].eq(0.25).all()


# Where heat of a landmark at row 100 is in the official masks: row in the coarse and in the fine one, None: nowhere.
MOVED = [
    (7, None, None),  # the outer jaw
    (8, 100, None),  # chin
    (24, 100, None),
    (25, None, None),
    (33, None, None),  # eyebrows, but for two edges
    (34, 107, None),
    (46, None, None),
    (50, 107, None),
    (51, 100, 100),  # nose: its upper end stays, the rest goes up
    (54, 96, 96),
    (55, 92, 92),  # nostrils go up
    (59, 92, 92),
    (76, None, None),  # corners of the mouth
    (77, 108, None),  # upper lip goes down
    (82, None, None),
    (83, 92, None),  # lower lip goes up
    (87, 92, None),
    (88, 102, None),  # inside of the lips
    (95, 102, None),
    (96, 100, 100),  # pupils
    (97, 100, 100),
]


def spot(landmark: int, row: int, column: int = 60) -> torch.Tensor:
    heat = torch.zeros(1, LANDMARKS, SIDE, SIDE)
    heat[0, landmark, row, column] = 0.8
    return heat


def positions(mask: torch.Tensor) -> Iterator[tuple[int, int]]:
    yield from ((int(row), int(column)) for row, column in mask[0, 0].nonzero())


@pytest.mark.parametrize(("landmark", "coarse", "fine"), MOVED)
def test_heat_of_a_landmark_goes_where_the_official_code_puts_it(
    landmark: int, coarse: int | None, fine: int | None
) -> None:
    for mask, row in zip(masks_of(spot(landmark, 100)), (coarse, fine), strict=True):
        assert list(positions(mask)) == ([] if row is None else [(row, 60)])
        assert row is None or mask.max() == pytest.approx(1, abs=1e-4)  # the hottest pixel counts as 1


@pytest.mark.parametrize("landmark", [60, 75])
def test_eyes_count_twice(landmark: int) -> None:
    for mask in masks_of(spot(landmark, 100)):
        assert list(positions(mask)) == [(108, 60), (124, 60)]


def test_what_leaves_on_one_side_comes_in_on_the_other() -> None:
    coarse, fine = masks_of(spot(55, 3))
    assert list(positions(coarse)) == list(positions(fine)) == [(251, 60)]


# Half of the peak, raised to the official powers.
@pytest.mark.parametrize(("landmark", "power"), [(8, 3), (34, 2), (51, 1), (55, 4), (77, 4), (83, 4), (88, 3), (96, 1)])
def test_spots_are_narrowed(landmark: int, power: int) -> None:
    heat = spot(landmark, 100)
    heat[0, landmark, 100, 61] = 0.4
    heat[0, landmark, 100, 62] = 0.09  # below the threshold
    coarse, _ = masks_of(heat)
    assert coarse.amax((0, 1, 2))[60:63].tolist() == pytest.approx([1, 0.5**power, 0], abs=1e-4)


@pytest.fixture(scope="module")
def masked(network: MaskNetwork) -> MaskedGenerator:
    torch.manual_seed(1)
    generator = Generator(64, style_dim=4, max_width=8, width=4)
    return MaskedGenerator(generator, torch.randn(3, 4), network).eval()


def test_the_generator_finds_its_masks_itself(masked: MaskedGenerator) -> None:
    picture = (torch.rand(1, 3, 64, 64) * 2 - 1).requires_grad_()
    edit = torch.eye(3)[1:2]
    fake = masked(picture, edit)
    style = masked.styles.weight[:, 1][None]
    torch.testing.assert_close(fake, masked.generator(picture, style, masked.fan.masks(picture)).clamp(-1, 1))
    assert not torch.allclose(fake, StyledGenerator(masked.generator, masked.styles.weight.T)(picture, edit))
    fake.square().mean().backward()
    assert picture.grad is not None and picture.grad.abs().max() > 0


def test_a_generator_with_masks_is_read_from_what_an_exporter_leaves(masked: MaskedGenerator) -> None:
    unused = ("num_batches_tracked", "conv1x1.weight")
    state = {
        name: value
        for name, value in masked.state_dict().items()
        if not name.endswith(unused) or name.startswith("generator.encode")
    }
    loaded = load(state | {"generator.lifted_tensor_1": torch.zeros(1)}, 64)
    assert isinstance(loaded, MaskedGenerator)
    picture, edit = torch.rand(1, 3, 64, 64), torch.eye(3)[:1]
    with torch.no_grad():
        assert torch.equal(loaded(picture, edit), masked(picture, edit))


def test_a_generator_without_masks_is_read_too() -> None:
    styled = StyledGenerator(Generator(32, style_dim=4, max_width=8, width=4, high_pass=0), torch.randn(2, 4))
    assert type(load(styled.state_dict(), 32)) is StyledGenerator


def test_masks_need_a_generator_that_keeps_high_frequencies(network: MaskNetwork) -> None:
    with pytest.raises(AssertionError):
        MaskedGenerator(Generator(32, style_dim=4, max_width=8, width=4, high_pass=0), torch.randn(2, 4), network)
