"""ResNet, MobileNetV2 and EfficientNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

BatchNorm3 = partial(nn.BatchNorm2d, eps=1e-3)  # EfficientNet's


def conv3x3(c: int, k: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c, k, 3, stride, 1, bias=False)


def conv1x1(c: int, k: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c, k, 1, stride, bias=False)


class Basic(nn.Module):
    """ResNet's block of two 3x3 convolutions."""

    expansion = 1

    def __init__(self, c: int, planes: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3x3(c, planes, stride), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv3x3(planes, planes), nn.BatchNorm2d(planes)
        self.relu = nn.ReLU()
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """ResNet's block of 1x1, 3x3 and 1x1 convolutions."""

    expansion = 4

    def __init__(self, c: int, planes: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv1x1(c, planes), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv3x3(planes, planes, stride), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = conv1x1(planes, planes * 4), nn.BatchNorm2d(planes * 4)
        self.relu = nn.ReLU()
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """As torchvision names it."""

    def __init__(self, block: type[Basic | Bottleneck], depths: Sequence[int], classes: int = 1000) -> None:
        super().__init__()
        self.channels = 64
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for k, (planes, depth) in enumerate(zip((64, 128, 256, 512), depths, strict=True)):
            setattr(self, f"layer{k + 1}", self._stage(block, planes, depth, 1 if k == 0 else 2))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * block.expansion, classes)

    def _stage(self, block: type[Basic | Bottleneck], planes: int, depth: int, stride: int) -> nn.Sequential:
        width = planes * block.expansion
        downsample = None
        if stride != 1 or self.channels != width:
            downsample = nn.Sequential(conv1x1(self.channels, width, stride), nn.BatchNorm2d(width))
        first = block(self.channels, planes, stride, downsample)
        self.channels = width
        return nn.Sequential(first, *(block(width, planes, 1, None) for _ in range(depth - 1)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def resnet18() -> ResNet:
    return ResNet(Basic, (2, 2, 2, 2))


def resnet50() -> ResNet:
    return ResNet(Bottleneck, (3, 4, 6, 3))


def conv_bn_relu6(c: int, k: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(c, k, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(k), nn.ReLU6())


class InvertedResidual(nn.Module):
    """MobileNetV2's block."""

    def __init__(self, c: int, k: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = c * expansion
        self.residual = stride == 1 and c == k
        self.conv = nn.Sequential(
            *([] if expansion == 1 else [conv_bn_relu6(c, width, 1)]),
            conv_bn_relu6(width, width, 3, stride, width),
            nn.Conv2d(width, k, 1, bias=False),
            nn.BatchNorm2d(k),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """As torchvision names it."""

    STAGES = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        blocks: list[nn.Module] = [conv_bn_relu6(3, 32, 3, 2)]
        channels = 32
        for expansion, width, depth, stride in self.STAGES:
            for k in range(depth):
                blocks.append(InvertedResidual(channels, width, stride if k == 0 else 1, expansion))
                channels = width
        blocks.append(conv_bn_relu6(320, 1280, 1))
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


class SameConv(nn.Conv2d):
    """TensorFlow's SAME: asymmetric padding, decided from the input's size."""

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for size, kernel, stride in zip(
            x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
        ):
            pad = max((-(-int(size) // stride) - 1) * stride + kernel - int(size), 0)
            pads += [pad // 2, pad - pad // 2]
        if any(pads):
            x = functional.pad(x, pads)
        return functional.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class MBConv(nn.Module):
    """EfficientNet's block, with or without squeeze and excitation."""

    def __init__(
        self, c: int, k: int, kernel: int, stride: int, expansion: int, squeeze: bool, act: nn.Module
    ) -> None:
        super().__init__()
        width = c * expansion
        self.expansion, self.squeeze, self.act = expansion, squeeze, act
        self.residual = stride == 1 and c == k
        if expansion != 1:
            self._expand_conv, self._bn0 = SameConv(c, width, 1, bias=False), BatchNorm3(width)
        self._depthwise_conv = SameConv(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = BatchNorm3(width)
        if squeeze:
            small = max(1, c // 4)
            self._se_reduce, self._se_expand = nn.Conv2d(width, small, 1), nn.Conv2d(small, width, 1)
        self._project_conv, self._bn2 = SameConv(width, k, 1, bias=False), BatchNorm3(k)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self.expansion != 1:
            y = self.act(self._bn0(self._expand_conv(y)))
        y = self.act(self._bn1(self._depthwise_conv(y)))
        if self.squeeze:
            gate = self._se_expand(self.act(self._se_reduce(functional.adaptive_avg_pool2d(y, 1))))
            y = y * torch.sigmoid(gate)
        y = self._bn2(self._project_conv(y))
        return y + x if self.residual else y


class EfficientNet(nn.Module):
    """B0, as its first PyTorch port names it."""

    STAGES = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )

    def __init__(self, squeeze: bool, act: Callable[[], nn.Module], classes: int = 1000) -> None:
        super().__init__()
        self.act = act()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2, bias=False), BatchNorm3(32)
        blocks, channels = [], 32
        for depth, kernel, stride, expansion, width in self.STAGES:
            for k in range(depth):
                step = stride if k == 0 else 1
                blocks.append(MBConv(channels, width, kernel, step, expansion, squeeze, self.act))
                channels = width
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = SameConv(320, 1280, 1, bias=False), BatchNorm3(1280)
        self._fc = nn.Linear(1280, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = self.act(self._bn1(self._conv_head(x)))
        return self._fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def efficientnet_b0() -> EfficientNet:
    return EfficientNet(True, nn.SiLU)


def efficientnet_lite0() -> EfficientNet:
    """Without squeeze and excitation."""
    return EfficientNet(False, nn.ReLU6)
