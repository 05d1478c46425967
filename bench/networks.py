"""The networks that are measured, as torch modules with seeded weights (needs torch; some of them torchvision)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn


class Matting(nn.Module):
    """A deep image matting autoencoder: VGG16's encoder on RGB and trimap, a decoder of x2 and 5x5 convolutions.

    upsampling: "nearest"; "bilinear" has one more 3x3 convolution in the middle
    """

    def __init__(self, upsampling: str) -> None:
        super().__init__()
        encoder: list[nn.Module] = []
        channels = 4
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                encoder += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            encoder.append(nn.MaxPool2d(2))
        self.encoder = nn.Sequential(*encoder)
        middle = [nn.Conv2d(512, 512, 3, padding=1), nn.ReLU()] if upsampling == "bilinear" else []
        self.middle = nn.Sequential(*middle, nn.Conv2d(512, 512, 1), nn.ReLU())
        corners = {"align_corners": False} if upsampling == "bilinear" else {}
        self.larger = partial(F.interpolate, scale_factor=2, mode=upsampling, **corners)
        widths = (512, 512, 256, 128, 64, 64)
        self.decoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 5, padding=2), nn.ReLU()) for a, b in itertools.pairwise(widths)
        )
        self.alpha = nn.Conv2d(64, 1, 5, padding=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.middle(self.encoder(x))
        for block in self.decoder:
            x = block(self.larger(x))
        return torch.sigmoid(self.alpha(x))


def _double(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def _bilinear(inputs: int, outputs: int) -> nn.Sequential:
    """Twice the size, corners aligned, and a 1x1 convolution."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), nn.Conv2d(inputs, outputs, 1)
    )


def _transposed(inputs: int, outputs: int) -> nn.Module:
    return nn.ConvTranspose2d(inputs, outputs, 2, stride=2)


class UNet(nn.Module):
    """The classic UNet with concatenated skips; `larger` makes what upsamples."""

    def __init__(self, width: int, larger: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        sizes = [width << level for level in range(5)]
        self.down = nn.ModuleList(_double(a, b) for a, b in zip([3, *sizes], sizes, strict=False))
        steps = list(zip(sizes[:0:-1], sizes[-2::-1], strict=True))
        self.larger = nn.ModuleList(larger(a, b) for a, b in steps)
        self.up = nn.ModuleList(_double(2 * b, b) for _, b in steps)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for larger, block in zip(self.larger, self.up, strict=True):
            x = block(torch.cat([skips.pop(), larger(x)], 1))
        return self.head(x)


class Spade(nn.Module):
    """A norm whose scale and shift convolutions make out of the label map."""

    def __init__(self, channels: int, labels: int, hidden: int = 128) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.shared = nn.Conv2d(labels, hidden, 3, padding=1)
        self.gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        hidden = F.relu(self.shared(F.interpolate(labels, size=x.shape[2:], mode="nearest")))
        return self.norm(x) * (1 + self.gamma(hidden)) + self.beta(hidden)


class SpadeBlock(nn.Module):
    """Two convolutions, each behind a Spade and a leaky ReLU, and a way around them."""

    def __init__(self, inputs: int, outputs: int, labels: int) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.norms = nn.ModuleList([Spade(inputs, labels), Spade(middle, labels)])
        self.convs = nn.ModuleList(
            [nn.Conv2d(inputs, middle, 3, padding=1), nn.Conv2d(middle, outputs, 3, padding=1)]
        )
        self.changes = inputs != outputs
        if self.changes:
            self.norm_around = Spade(inputs, labels)
            self.around = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        around = self.around(self.norm_around(x, labels)) if self.changes else x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = conv(F.leaky_relu(norm(x, labels), 0.2))
        return around + x


class SpadeGenerator(nn.Module):
    """GauGAN's netG without an encoder: a label map to an image 32 times the start's size."""

    def __init__(self, labels: int = 183, width: int = 64, start: tuple[int, int] = (8, 16)) -> None:
        super().__init__()
        self.start = start
        self.first = nn.Conv2d(labels, 16 * width, 3, padding=1)
        factors = (16, 16, 16, 16, 8, 4, 2, 1)
        self.blocks = nn.ModuleList(
            SpadeBlock(a * width, b * width, labels) for a, b in itertools.pairwise(factors)
        )
        self.image = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, labels: torch.Tensor) -> torch.Tensor:
        x = self.first(F.interpolate(labels, size=self.start, mode="nearest"))
        for number, block in enumerate(self.blocks):
            if number not in (0, 2):  # the head, and the second of the two middle blocks, keep the size
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = block(x, labels)
        return torch.tanh(self.image(F.leaky_relu(x, 0.2)))


def _torchvision(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision

        return getattr(torchvision.models, name)(weights=None)

    return build


Shape = tuple[int, int, int]
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "resnet18": (_torchvision("resnet18"), (3, 224, 224)),
    "resnet50": (_torchvision("resnet50"), (3, 224, 224)),
    "mobilenet_v2": (_torchvision("mobilenet_v2"), (3, 224, 224)),
    "efficientnet_b0": (_torchvision("efficientnet_b0"), (3, 224, 224)),
    "matting": (partial(Matting, "nearest"), (4, 320, 320)),
    "matting_bilinear": (partial(Matting, "bilinear"), (4, 320, 320)),
    "unet": (partial(UNet, 64, _transposed), (3, 512, 512)),
    "unet_bilinear": (partial(UNet, 32, _bilinear), (3, 256, 256)),
    "spade": (SpadeGenerator, (183, 256, 512)),
}


def network(name: str, weights: Path | None = None) -> tuple[nn.Module, Shape]:
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
        seed(module, torch.randn(4, *shape))
    return module.eval(), shape


def seed(module: nn.Module, batch: torch.Tensor) -> None:
    """Draws all weights on the CPU; the batch for the statistics runs on the GPU where there is one."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif isinstance(layer, nn.ConvTranspose2d):  # a pixel is a sum over the channels of one input pixel
            nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.in_channels))
        else:
            continue
        if layer.bias is not None:
            nn.init.normal_(layer.bias, std=0.05)
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    module.eval()  # dropout would make the statistics others than inference sees
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
        if norm.affine:
            nn.init.uniform_(norm.weight, 0.7, 1.3)
            nn.init.normal_(norm.bias, std=0.1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.no_grad():
        if norms:
            module.to(device)(batch.to(device))
            module.cpu()
        for norm in norms:
            norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
            norm.running_var *= 0.8 + 0.4 * torch.rand_like(norm.running_var)


def export(module: nn.Module, shape: Shape, path: Path) -> None:
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
