"""Networks from image to image: UNet, deep image matting, SPADE, CRAFT."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv_bn_relu(c: int, k: int) -> list[nn.Module]:
    return [nn.Conv2d(c, k, 3, padding=1, bias=False), nn.BatchNorm2d(k), nn.ReLU()]


class UNet(nn.Module):
    """Double convolutions, max pools, skips by concatenation.

    mode: "deconv", 2x2 transposed convolutions; "bilinear", an upsample and a 1x1 convolution
    """

    def __init__(self, c: int = 3, k: int = 2, width: int = 32, mode: str = "deconv") -> None:
        super().__init__()
        widths = [width << level for level in range(5)]

        def double(c: int, k: int) -> nn.Sequential:
            return nn.Sequential(*conv_bn_relu(c, k), *conv_bn_relu(k, k))

        def up(c: int, k: int) -> nn.Module:
            if mode == "deconv":
                return nn.ConvTranspose2d(c, k, 2, 2)
            larger = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            return nn.Sequential(larger, nn.Conv2d(c, k, 1))

        self.inc = double(c, widths[0])
        self.down = nn.ModuleList([double(widths[k], widths[k + 1]) for k in range(4)])
        self.up = nn.ModuleList([up(widths[k + 1], widths[k]) for k in (3, 2, 1, 0)])
        self.uc = nn.ModuleList([double(2 * widths[k], widths[k]) for k in (3, 2, 1, 0)])
        self.out = nn.Conv2d(widths[0], k, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.inc(x)]
        for down in self.down:
            features.append(down(functional.max_pool2d(features[-1], 2)))
        y = features.pop()
        for up, both in zip(self.up, self.uc, strict=True):
            y = both(torch.cat([features.pop(), up(y)], 1))
        return self.out(y)


class _MaxPoolIndices(torch.autograd.Function):
    """torch's own pool, exported as ONNX's MaxPool with two outputs."""

    @staticmethod
    def forward(_ctx: object, x: Tensor) -> tuple[Tensor, Tensor]:
        return functional.max_pool2d(x, 2, 2, return_indices=True)

    @staticmethod
    def symbolic(g: object, x: object) -> object:
        return g.op("MaxPool", x, kernel_shape_i=[2, 2], strides_i=[2, 2], outputs=2)


class _MaxUnpool(torch.autograd.Function):
    """torch's own unpooling, exported as ONNX's MaxUnpool."""

    @staticmethod
    def forward(_ctx: object, x: Tensor, indices: Tensor) -> Tensor:
        return torch.ops.aten.max_unpool2d(x, indices, [2 * int(x.shape[2]), 2 * int(x.shape[3])])

    @staticmethod
    def symbolic(g: object, x: object, indices: object) -> object:
        return g.op("MaxUnpool", x, indices, kernel_shape_i=[2, 2], strides_i=[2, 2])


class Matting(nn.Module):
    """Deep image matting: VGG16's encoder on image and trimap, a decoder of 5x5 convolutions.

    mode: "unpool", the decoder puts values where the encoder's pools found theirs; "upsample", bilinear
    """

    def __init__(self, width: int = 64, mode: str = "unpool", norm: bool = False) -> None:
        super().__init__()
        self.mode = mode
        w = [width, 2 * width, 4 * width, 8 * width, 8 * width]

        def block(c: int, k: int, kernel: int) -> nn.Sequential:
            conv = nn.Conv2d(c, k, kernel, padding=kernel // 2, bias=not norm)
            return nn.Sequential(conv, *([nn.BatchNorm2d(k)] if norm else []), nn.ReLU())

        self.enc = nn.ModuleList()
        channels = 4
        for wide, depth in zip(w, (2, 2, 3, 3, 3), strict=True):
            stages = [block(channels if k == 0 else wide, wide, 3) for k in range(depth)]
            self.enc.append(nn.Sequential(*stages))
            channels = wide
        self.conv6 = block(w[4], w[4], 7 if width < 64 else 3)
        self.dec6 = block(w[4], w[4], 1)
        pairs = zip((w[4], w[4], w[2], w[1], w[0]), (w[4], w[2], w[1], w[0], w[0]), strict=True)
        self.dec = nn.ModuleList([block(c, k, 5) for c, k in pairs])
        self.pred = nn.Conv2d(w[0], 1, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for stage in self.enc:
            x = stage(x)
            if self.mode == "unpool":
                x, indices = _MaxPoolIndices.apply(x)
                found.append(indices)
            else:
                x = functional.max_pool2d(x, 2, 2)
        x = self.dec6(self.conv6(x))
        for stage in self.dec:
            if self.mode == "unpool":
                x = _MaxUnpool.apply(x, found.pop())
            else:
                x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = stage(x)
        return torch.sigmoid(self.pred(x))


class Spade(nn.Module):
    """Normalises, then scales and shifts by what convolutions make of the label map."""

    def __init__(self, c: int, labels: int, norm: str, hidden: int = 128) -> None:
        super().__init__()
        self.n = nn.BatchNorm2d(c, affine=False) if norm == "batch" else nn.InstanceNorm2d(c, affine=False)
        self.sh = nn.Conv2d(labels, hidden, 3, padding=1)
        self.g = nn.Conv2d(hidden, c, 3, padding=1)
        self.b = nn.Conv2d(hidden, c, 3, padding=1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        hidden = functional.relu(self.sh(functional.interpolate(labels, size=x.shape[2:], mode="nearest")))
        return self.n(x) * (1 + self.g(hidden)) + self.b(hidden)


class SpadeBlock(nn.Module):
    """A residual block of SPADE layers."""

    def __init__(self, c: int, k: int, labels: int, norm: str) -> None:
        super().__init__()
        middle = min(c, k)
        self.shortcut = c != k
        self.c0, self.c1 = nn.Conv2d(c, middle, 3, padding=1), nn.Conv2d(middle, k, 3, padding=1)
        self.n0, self.n1 = Spade(c, labels, norm), Spade(middle, labels, norm)
        if self.shortcut:
            self.cs, self.ns = nn.Conv2d(c, k, 1, bias=False), Spade(c, labels, norm)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        around = self.cs(self.ns(x, labels)) if self.shortcut else x
        y = self.c0(functional.leaky_relu(self.n0(x, labels), 0.2))
        y = self.c1(functional.leaky_relu(self.n1(y, labels), 0.2))
        return around + y


class SpadeGenerator(nn.Module):
    """GauGAN's generator without its encoder: a label map [N, labels, size, size] to an image."""

    def __init__(self, labels: int = 184, width: int = 64, size: int = 256, norm: str = "batch") -> None:
        super().__init__()
        self.start = size // 32

        def block(c: int, k: int) -> SpadeBlock:
            return SpadeBlock(c * width, k * width, labels, norm)

        self.fc = nn.Conv2d(labels, 16 * width, 3, padding=1)
        self.head, self.m0, self.m1 = block(16, 16), block(16, 16), block(16, 16)
        self.u0, self.u1, self.u2, self.u3 = block(16, 8), block(8, 4), block(4, 2), block(2, 1)
        self.img = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, labels: Tensor) -> Tensor:
        def larger(x: Tensor) -> Tensor:
            return functional.interpolate(x, scale_factor=2, mode="nearest")

        x = self.fc(functional.interpolate(labels, size=(self.start, self.start), mode="nearest"))
        x = larger(self.head(x, labels))
        x = self.m1(self.m0(x, labels), labels)
        for block in (self.u0, self.u1, self.u2, self.u3):
            x = block(larger(x), labels)
        return torch.tanh(self.img(functional.leaky_relu(x, 0.2)))


class Craft(nn.Module):
    """CRAFT's text detector: VGG16 with BatchNorm and a U-shaped decoder, as EasyOCR names it. NHWC output."""

    def __init__(self) -> None:
        super().__init__()
        layers = _vgg16_bn()
        self.basenet = nn.Module()
        for k, (first, last) in enumerate(((0, 12), (12, 19), (19, 29), (29, 39))):
            setattr(self.basenet, f"slice{k + 1}", nn.Sequential(OrderedDict(layers[first:last])))
        dilated = nn.Conv2d(512, 1024, 3, padding=6, dilation=6)
        self.basenet.slice5 = nn.Sequential(nn.MaxPool2d(3, 1, 1), dilated, nn.Conv2d(1024, 1024, 1))
        for k, (c, middle, out) in enumerate(
            ((1536, 512, 256), (768, 256, 128), (384, 128, 64), (192, 64, 32))
        ):
            setattr(self, f"upconv{k + 1}", _double_conv(c, middle, out))
        widths = ((32, 32, 3), (32, 32, 3), (32, 16, 3), (16, 16, 1))
        head = [
            part
            for c, out, kernel in widths
            for part in (nn.Conv2d(c, out, kernel, padding=kernel // 2), nn.ReLU())
        ]
        self.conv_cls = nn.Sequential(*head, nn.Conv2d(16, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        base = self.basenet
        h1 = base.slice1(x)
        h2 = base.slice2(h1)
        h3 = base.slice3(h2)
        h4 = base.slice4(h3)
        y = self.upconv1.conv(torch.cat([base.slice5(h4), h4], 1))
        for up, skip in ((self.upconv2, h3), (self.upconv3, h2), (self.upconv4, h1)):
            y = functional.interpolate(y, size=skip.shape[2:], mode="bilinear", align_corners=False)
            y = up.conv(torch.cat([y, skip], 1))
        return self.conv_cls(y).permute(0, 2, 3, 1)


def _vgg16_bn() -> list[tuple[str, nn.Module]]:
    """VGG16's layers with the numbers that torchvision gives them; 0: a pool."""
    layers: list[tuple[str, nn.Module]] = []
    channels = 3
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512):
        parts: list[nn.Module] = [nn.MaxPool2d(2, 2)]
        if width:
            parts = [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers += [(str(len(layers) + k), part) for k, part in enumerate(parts)]
    return layers


def _double_conv(c: int, middle: int, out: int) -> nn.Module:
    module = nn.Module()
    module.conv = nn.Sequential(
        nn.Conv2d(c, middle, 1),
        nn.BatchNorm2d(middle),
        nn.ReLU(),
        nn.Conv2d(middle, out, 3, padding=1),
        nn.BatchNorm2d(out),
        nn.ReLU(),
    )
    return module
