"""Whole networks import without edits and agree with torch: published ones at reduced size, and typical blocks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .agreement import assert_agrees, torch
from .blocks import BLOCKS, Attention

from ..models.nets import audio, classifiers, images, seeding  # isort: skip (torch may be missing)

NETWORKS: dict[str, tuple[Callable[[], object], tuple[int, ...]]] = {
    "resnet18": (classifiers.resnet18, (1, 3, 32, 32)),
    "resnet50": (classifiers.resnet50, (1, 3, 32, 32)),
    "mobilenet_v2": (classifiers.MobileNetV2, (1, 3, 32, 32)),
    "efficientnet_b0": (classifiers.efficientnet_b0, (1, 3, 48, 48)),
    "efficientnet_lite0": (classifiers.efficientnet_lite0, (1, 3, 48, 48)),
    "unet_deconv": (lambda: images.UNet(width=8), (2, 3, 32, 48)),
    "unet_bilinear": (lambda: images.UNet(width=8, mode="bilinear"), (1, 3, 32, 32)),
    "matting_unpool": (lambda: images.Matting(width=8), (1, 4, 64, 64)),
    "matting_upsample": (lambda: images.Matting(width=8, mode="upsample", norm=True), (1, 4, 64, 64)),
    "spade_batch": (lambda: images.SpadeGenerator(labels=6, width=4, size=64), (1, 6, 64, 64)),
    "spade_instance": (
        lambda: images.SpadeGenerator(labels=6, width=4, size=64, norm="instance"),
        (1, 6, 64, 64),
    ),
    "craft": (images.Craft, (1, 3, 32, 32)),
    "crepe_tiny": (audio.Crepe, (3, 1024)),
}


def noise(*shape: int, seed: int = 0) -> object:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NETWORKS)
def test_published_network(name: str) -> None:
    make, shape = NETWORKS[name]
    module = seeding.seeded(make(), noise(max(2, shape[0]), *shape[1:], seed=1))
    found = assert_agrees(module, noise(*shape))
    tensors = {key for key in module.state_dict() if not key.endswith("num_batches_tracked")}
    assert set(found.weights) == tensors
    assert found.spec.batched


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)
def test_block(block: Callable[[], object]) -> None:
    module = seeding.seeded(block(), noise(4, 8, 6, 10, seed=1))
    found = assert_agrees(module, noise(2, 8, 6, 10))
    # torch's MultiheadAttention works on [sequence, batch, channels]
    assert found.spec.batched is (block is not Attention)
