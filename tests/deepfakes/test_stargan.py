from __future__ import annotations

import pytest
import torch

from dadfi_fast.deepfakes.base import Editor
from dadfi_fast.deepfakes.stargan import Discriminator, Generator, load_official


def test_the_official_width_has_the_official_size() -> None:
    generator = Generator()
    # 8,430,528 is what the official definition prints: every weight and affine parameter.
    assert sum(p.numel() for p in generator.parameters()) == 8_430_528
    assert sum(p.numel() for p in Discriminator().parameters()) == 44_762_048


def test_key_names_are_the_official_ones() -> None:
    names = list(Generator(repeat_num=1).state_dict())
    assert names[:4] == ["main.0.weight", "main.1.weight", "main.1.bias", "main.3.weight"]
    assert "main.9.main.0.weight" in names and "main.9.main.4.bias" in names


def test_an_official_checkpoint_loads_unchanged() -> None:
    torch.manual_seed(0)
    generator = Generator(conv_dim=8, c_dim=3, repeat_num=2)
    state = dict(generator.state_dict())
    for name in [n for n in state if n.endswith(".bias")]:  # what the official norm layers keep besides
        stem = name.removesuffix("bias")
        state[f"{stem}running_mean"], state[f"{stem}running_var"] = torch.rand(8), torch.rand(8)
        state[f"{stem}num_batches_tracked"] = torch.tensor(200_000)
    loaded = load_official(state)
    assert (loaded.conv_dim, loaded.c_dim, loaded.repeat_num) == (8, 3, 2)
    x, labels = torch.rand(2, 3, 16, 16), torch.eye(3)[:2]
    assert torch.equal(loaded(x, labels), generator(x, labels))


def test_statistics_are_the_pictures_own_in_eval_mode_too() -> None:
    torch.manual_seed(0)
    generator, x = Generator(conv_dim=8, repeat_num=1), torch.rand(2, 3, 16, 16)
    labels = torch.zeros(2, 5)
    assert torch.equal(generator.train()(x, labels), generator.eval()(x, labels))
    torch.testing.assert_close(generator(x, labels)[:1], generator(x[:1], labels[:1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_picture_gets_a_gradient_through_the_resize(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = Editor(Generator(conv_dim=8, repeat_num=1), image_size=32)
    x = torch.rand(1, 3, 50, 70, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        fake = (
            model.fake(x, torch.zeros(1, 5))
            if dtype == torch.float32
            else model.generator(model.resize(x), torch.zeros(1, 5))
        )
    assert fake.shape == (1, 3, 32, 32)
    fake.float().square().mean().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.abs().max() > 0
