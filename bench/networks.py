"""The networks that are measured, as torch modules with seeded weights (needs torch and torchvision)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn


class Matting(nn.Module):
    """A deep image matting autoencoder: VGG16 encoder on RGB and trimap, decoder of bilinear x2 and 5x5."""

    def __init__(self) -> None:
        super().__init__()
        encoder: list[nn.Module] = []
        channels = 4
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                encoder += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            encoder.append(nn.MaxPool2d(2))
        self.encoder = nn.Sequential(*encoder)
        self.middle = nn.Sequential(
            nn.Conv2d(512, 512, 3, padding=1), nn.ReLU(), nn.Conv2d(512, 512, 1), nn.ReLU()
        )
        widths = (512, 512, 256, 128, 64, 64)
        self.decoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 5, padding=2), nn.ReLU()) for a, b in itertools.pairwise(widths)
        )
        self.alpha = nn.Conv2d(64, 1, 5, padding=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.middle(self.encoder(x))
        for block in self.decoder:
            x = block(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
        return torch.sigmoid(self.alpha(x))


def _double(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """The classic UNet with bilinear upsampling (corners aligned) and concatenated skips."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        sizes = [width << level for level in range(5)]
        self.down = nn.ModuleList(_double(a, b) for a, b in zip([3, *sizes], sizes, strict=False))
        steps = list(zip(sizes[:0:-1], sizes[-2::-1], strict=True))
        self.squeeze = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in steps)
        self.up = nn.ModuleList(_double(2 * b, b) for _, b in steps)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for squeeze, block in zip(self.squeeze, self.up, strict=True):
            x = squeeze(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))
            x = block(torch.cat([skips.pop(), x], 1))
        return self.head(x)


def _torchvision(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision

        return getattr(torchvision.models, name)(weights=None)

    return build


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "resnet18": (_torchvision("resnet18"), (3, 224, 224)),
    "resnet50": (_torchvision("resnet50"), (3, 224, 224)),
    "mobilenet_v2": (_torchvision("mobilenet_v2"), (3, 224, 224)),
    "matting": (Matting, (4, 320, 320)),
    "unet_bilinear": (UNet, (3, 256, 256)),
}


def network(name: str, weights: Path | None = None) -> tuple[nn.Module, tuple[int, int, int]]:
    """The module in evaluation mode and its input's (C, H, W).

    `weights`: a folder that may hold `<name>.safetensors` with a state_dict; without it the weights are seeded, and
    BatchNorm's statistics are those of one batch of noise, perturbed.
    """
    build, shape = NETWORKS[name]
    torch.manual_seed(0)
    module = build()
    trained = None if weights is None else weights / f"{name}.safetensors"
    if trained is not None and trained.exists():
        from safetensors.torch import load_file

        module.load_state_dict(load_file(trained))
    else:
        _seed(module, torch.randn(4, *shape))
    return module.eval(), shape


def _seed(module: nn.Module, batch: torch.Tensor) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.normal_(layer.bias, std=0.05)
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        nn.init.uniform_(norm.weight, 0.7, 1.3)
        nn.init.normal_(norm.bias, std=0.1)
    with torch.no_grad():
        module.train()(batch)
        for norm in norms:
            norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
            norm.running_var *= 0.8 + 0.4 * torch.rand_like(norm.running_var)


def export(module: nn.Module, shape: tuple[int, int, int], path: Path) -> None:
    """Writes the module as ONNX with a dynamic batch and its BatchNorms visible."""
    torch.onnx.export(
        module,
        (torch.randn(1, *shape),),
        str(path),
        dynamo=False,
        opset_version=17,
        input_names=["input"],
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=True,
        dynamic_axes={"input": {0: "N"}},
    )
