"""The blocks that torchvision's families of networks are made of, small, in their publishers' manner."""

from __future__ import annotations

from .agreement import nn, torch

F = torch.nn.functional


def conv_norm(
    i: int, o: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: object = None
) -> object:
    """Convolution, BatchNorm and an activation that works in place."""
    parts = [nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*parts, *([] if act is None else [act]))


class Basic(nn.Module):
    """ResNet's block of two 3x3 convolutions."""

    def __init__(self, i: int = 8, o: int = 16, stride: int = 2) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = conv_norm(i, o, 1, stride)

    def forward(self, x: object) -> object:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += self.downsample(x)
        return self.relu(out)


class Bottleneck(nn.Module):
    """ResNet's block of 1x1, grouped 3x3 and 1x1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(8, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, 1, 1, groups=2, bias=False), nn.BatchNorm2d(4)
        self.conv3, self.bn3 = nn.Conv2d(4, 8, 1, bias=False), nn.BatchNorm2d(8)

    def forward(self, x: object) -> object:
        out = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.bn3(self.conv3(out)) + x)


class SqueezeExcitation(nn.Module):
    """Channels scaled by what their means say."""

    def __init__(self, channels: int, gate: object) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)
        self.activation, self.scale_activation = nn.ReLU(), gate

    def forward(self, x: object) -> object:
        return self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x))))) * x


class MobileV3(nn.Module):
    """MobileNetV3's inverted residual: expansion, depthwise, squeeze and excitation, projection."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(
            conv_norm(8, 24, act=nn.Hardswish(inplace=True)),
            conv_norm(24, 24, 5, groups=24, act=nn.Hardswish(inplace=True)),
            SqueezeExcitation(24, nn.Hardsigmoid()),
            conv_norm(24, 8),
        )

    def forward(self, x: object) -> object:
        result = self.block(x)
        result += x
        return result


class EfficientNetBlock(nn.Module):
    """MBConv: the same with SiLU and a sigmoid; StochasticDepth is nothing at inference."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(
            conv_norm(8, 16, act=nn.SiLU(inplace=True)),
            conv_norm(16, 16, 3, groups=16, act=nn.SiLU(inplace=True)),
            SqueezeExcitation(16, nn.Sigmoid()),
            conv_norm(16, 8),
        )
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: object) -> object:
        return self.dropout(self.block(x)) + x


class Inception(nn.Module):
    """GoogLeNet's four branches."""

    def __init__(self) -> None:
        super().__init__()
        self.branch1 = conv_norm(8, 4, act=nn.ReLU())
        self.branch2 = nn.Sequential(conv_norm(8, 4, act=nn.ReLU()), conv_norm(4, 6, 3, act=nn.ReLU()))
        self.branch3 = nn.Sequential(conv_norm(8, 2, act=nn.ReLU()), conv_norm(2, 4, 3, act=nn.ReLU()))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), conv_norm(8, 4, act=nn.ReLU()))

    def forward(self, x: object) -> object:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class Dense(nn.Module):
    """DenseNet: every layer reads all before it; then a transition."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(8 + 4 * k), nn.ReLU(), nn.Conv2d(8 + 4 * k, 4, 3, 1, 1, bias=False))
            for k in range(3)
        )
        self.norm, self.conv, self.pool = (
            nn.BatchNorm2d(20),
            nn.Conv2d(20, 10, 1, bias=False),
            nn.AvgPool2d(2, 2),
        )

    def forward(self, x: object) -> object:
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return self.pool(self.conv(F.relu(self.norm(torch.cat(features, 1)), inplace=True)))


class Shuffle(nn.Module):
    """ShuffleNetV2: half of the channels is worked on, then all are shuffled by views."""

    def __init__(self) -> None:
        super().__init__()
        self.branch2 = nn.Sequential(
            conv_norm(4, 4, act=nn.ReLU()), conv_norm(4, 4, 3, groups=4), conv_norm(4, 4)
        )

    def forward(self, x: object) -> object:
        first, second = x.chunk(2, dim=1)
        out = torch.cat((first, self.branch2(second)), dim=1)
        n, c, h, w = out.size()
        return torch.transpose(out.view(n, 2, c // 2, h, w), 1, 2).contiguous().view(n, c, h, w)


class UpDown(nn.Module):
    """UNet: pooled, upsampled both ways, padded to the skip's size and joined."""

    def __init__(self) -> None:
        super().__init__()
        self.inc, self.down = nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(8, 4, 2, 2), nn.Conv2d(16, 2, 3, padding=1)
        self.smooth = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)

    def forward(self, x: object) -> object:
        skip = F.relu(self.inc(x))
        low = F.relu(self.down(F.max_pool2d(skip, 2)))
        up = self.up(low)
        dy, dx = skip.size(2) - up.size(2), skip.size(3) - up.size(3)
        up = F.pad(up, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        smooth = F.interpolate(self.smooth(low), size=skip.shape[-2:], mode="bilinear", align_corners=False)
        return self.out(torch.cat([skip, up, smooth], 1))


class Aspp(nn.Module):
    """DeepLabV3's head: dilated convolutions beside the image's mean, and the way back to its size."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(8, 4, 3, padding=d, dilation=d, bias=False) for d in (1, 2, 3))
        self.pooling = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1, bias=False), nn.ReLU())
        self.project = nn.Sequential(nn.Conv2d(16, 5, 1), nn.ReLU(), nn.Dropout(0.5))

    def forward(self, x: object) -> dict[str, object]:
        pooled = F.interpolate(self.pooling(x), size=x.shape[-2:], mode="bilinear", align_corners=False)
        joined = self.project(torch.cat([*(conv(x) for conv in self.convs), pooled], 1))
        return {"out": F.interpolate(joined, size=(24, 40), mode="bilinear", align_corners=False)}


class Fcn(nn.Module):
    """FCN: class scores of two depths, added."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.score, self.skip = nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(8, 3, 1), nn.Conv2d(8, 3, 1)
        self.upscore = nn.ConvTranspose2d(3, 3, 4, 2, 1, bias=False)

    def forward(self, x: object) -> object:
        up = self.upscore(self.score(F.relu(self.down(x))))
        skip = self.skip(x)
        return (up[:, :, : skip.shape[2], : skip.shape[3]] + skip).argmax(1)


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of an image."""

    def forward(self, x: object) -> object:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNext(nn.Module):
    """ConvNeXt's block: depthwise 7x7, the rest as linear layers on NHWC, scaled, added."""

    def __init__(self) -> None:
        super().__init__()
        self.norm0 = LayerNorm2d(8, eps=1e-6)
        self.dwconv, self.norm = nn.Conv2d(8, 8, 7, padding=3, groups=8), nn.LayerNorm(8, eps=1e-6)
        self.pwconv1, self.pwconv2 = nn.Linear(8, 32), nn.Linear(32, 8)
        self.gamma = nn.Parameter(torch.full((8,), 0.3))

    def forward(self, x: object) -> object:
        x = self.norm0(x)
        y = self.pwconv2(F.gelu(self.pwconv1(self.norm(self.dwconv(x).permute(0, 2, 3, 1)))))
        return x + (self.gamma * y).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """A vision transformer's block on patches, with a class token and positions."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(8, 16, 2, 2)
        self.token, self.positions = nn.Parameter(torch.rand(1, 1, 16)), nn.Parameter(torch.rand(1, 16, 16))
        self.norm, self.attention = nn.LayerNorm(16), nn.MultiheadAttention(16, 4, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x: object) -> object:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return self.head(x[:, 0])


class Windows(nn.Module):
    """Swin's shifted windows: rolled, cut into windows, put together again."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, x: object) -> object:
        y = torch.roll(self.norm(x.permute(0, 2, 3, 1)), (-1, -1), (1, 2))
        b, h, w, c = y.shape
        y = y.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(b, -1, 4, c)
        y = self.linear(y).softmax(-2)
        y = y.view(b, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        return x + torch.roll(y, (1, 1), (1, 2)).permute(0, 3, 1, 2)


class Detection(nn.Module):
    """A YOLO head: boxes from distributions, anchors as a buffer, several outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.box, self.cls = nn.Conv2d(8, 16, 1), nn.Conv2d(8, 3, 1)
        ys, xs = torch.meshgrid(torch.arange(6), torch.arange(10), indexing="ij")
        self.register_buffer("anchors", torch.stack([xs, ys]).flatten(1).float() + 0.5)
        self.register_buffer("bins", torch.arange(4.0), persistent=False)

    def forward(self, x: object) -> tuple[object, object]:
        n = x.shape[0]
        sides = self.box(x).view(n, 4, 4, 60).softmax(2).mul(self.bins.view(1, 1, 4, 1)).sum(2)
        low, high = sides.chunk(2, 1)
        boxes = torch.cat([self.anchors - low, self.anchors + high], 1) * 8
        return boxes, self.cls(x).flatten(2).sigmoid()


BLOCKS = [
    *(Basic, Bottleneck, MobileV3, EfficientNetBlock, Inception, Dense, Shuffle, UpDown, Aspp, Fcn, ConvNext),
    *(Attention, Windows, Detection),
]
