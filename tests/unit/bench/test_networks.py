"""bench/networks.py: results stand for these networks, so that their arithmetic may not change unseen."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from networks import NETWORKS, SpadeGenerator, UNet, seed  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

GFLOP = {
    "resnet18": 3.628,
    "resnet50": 8.178,
    "mobilenet_v2": 0.602,
    "efficientnet_b0": 0.772,
    "matting": 120.8,
    "matting_bilinear": 121.3,
    "unet": 385.4,
    "unet_bilinear": 24.15,
    "spade": 763.3,
}


def test_every_network_is_known() -> None:
    assert GFLOP.keys() == NETWORKS.keys()


@pytest.mark.parametrize("name", GFLOP)
def test_arithmetic_of_an_image(name: str) -> None:
    build, shape = NETWORKS[name]
    if "_torchvision" in getattr(build, "__qualname__", ""):
        pytest.importorskip("torchvision")
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        build().eval()(torch.empty(1, *shape))
    assert counter.get_total_flops() / 1e9 == pytest.approx(GFLOP[name], rel=1e-3)


@pytest.mark.parametrize("kind", ["unet", "spade"])
def test_seeded_values_stay_in_range(kind: str) -> None:
    """A network whose values vanish or grow from layer to layer would say nothing about rounding."""
    torch.manual_seed(0)
    if kind == "unet":
        larger = NETWORKS["unet"][0].args[1]
        module, x = UNet(4, larger), torch.randn(2, 3, 64, 64)
    else:
        module, x = SpadeGenerator(labels=5, width=2, start=(2, 4)), torch.randn(2, 5, 64, 128)
    seed(module, x)
    with torch.no_grad():
        y = module.cpu().eval()(x)
    assert y.shape[2:] == x.shape[2:]
    assert 0.1 < float(y.std()) < 10
    norms = [norm for norm in module.modules() if isinstance(norm, torch.nn.BatchNorm2d)]
    assert norms
    assert all(bool((norm.running_var != 1).all()) for norm in norms)
