"""Every family of operators: what is imported computes what torch does, with the op that a person would have named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .agreement import assert_agrees, images, nn, torch

F = torch.nn.functional
X = (2, 8, 6, 10)
Function = Callable[..., object]


def seeded(module: object) -> object:
    """Parameters and statistics that are none of the defaults."""
    generator = torch.Generator().manual_seed(1)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.25)
    return module


WINDOWS: list[tuple[object, tuple[int, ...], list[str]]] = [
    (nn.Conv2d(8, 6, 3, 2, 1), X, ["conv2d"]),
    (nn.Conv2d(8, 6, (3, 1), padding="same", dilation=(2, 1), bias=False), X, ["conv2d"]),
    (nn.Conv2d(8, 8, 3, padding="valid", groups=4), X, ["conv2d"]),
    (nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), X, ["pad", "conv2d"]),
    (nn.Conv2d(8, 6, 3), X[1:], ["reshape", "conv2d", "reshape"]),
    (nn.Conv1d(8, 6, 5, 2, 2, dilation=2, groups=2), (2, 8, 20), ["conv1d"]),
    (nn.ConvTranspose2d(8, 6, 3, 2, 1, output_padding=1), X, ["conv_transpose2d"]),
    (
        nn.ConvTranspose2d(8, 6, (4, 3), (3, 2), (1, 0), groups=2, dilation=(1, 2), bias=False),
        X,
        ["conv_transpose2d"],
    ),
    (nn.ConvTranspose1d(8, 6, 4, 2, 1), (2, 8, 9), ["conv_transpose1d"]),
    (nn.MaxPool2d(3, 2, 1, dilation=1, ceil_mode=True), X, ["max_pool2d"]),
    (nn.MaxPool1d(3), (2, 8, 20), ["max_pool1d"]),
    (nn.AvgPool2d(3, 2, 1), X, ["avg_pool2d"]),
    (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), X, ["avg_pool2d"]),
    (nn.AvgPool2d(2, divisor_override=3), X, ["avg_pool2d", "mul"]),
    (nn.AvgPool1d(4, 3), (2, 8, 20), ["avg_pool1d"]),
    (nn.AdaptiveAvgPool2d(1), X, ["global_avg_pool"]),
    (nn.AdaptiveAvgPool2d((3, 5)), X, ["avg_pool2d"]),
    (nn.AdaptiveAvgPool2d((4, None)), X, ["adaptive_avg_pool2d"]),
    (nn.AdaptiveMaxPool2d(4), X, ["adaptive_max_pool2d"]),
    (nn.AdaptiveAvgPool1d(7), (2, 8, 20), ["adaptive_avg_pool1d"]),
    (nn.AdaptiveMaxPool1d(1), (2, 8, 20), ["global_max_pool"]),
    (nn.Unfold(3, padding=1, stride=2), X, ["unfold2d"]),
]

NORMS: list[tuple[object, tuple[int, ...], list[str]]] = [
    (nn.BatchNorm2d(8, eps=1e-3), X, ["batch_norm"]),
    (nn.BatchNorm2d(8, affine=False), X, ["batch_norm"]),
    (nn.BatchNorm1d(8), (4, 8), ["batch_norm"]),
    (nn.InstanceNorm2d(8), X, ["instance_norm"]),
    (nn.InstanceNorm1d(8, affine=True), (2, 8, 9), ["instance_norm"]),
    (nn.InstanceNorm2d(8, track_running_stats=True), X, ["batch_norm"]),
    (nn.GroupNorm(4, 8), X, ["group_norm"]),
    (nn.LayerNorm(10), X, ["layer_norm"]),
    (nn.LayerNorm((6, 10), bias=False), X, ["layer_norm"]),
    (nn.LayerNorm((8, 6, 10), elementwise_affine=False), X, ["layer_norm"]),
    (nn.RMSNorm(10), X, ["rms_norm"]),
    (nn.LocalResponseNorm(5, alpha=0.1, k=2.0), X, ["lrn"]),
    (nn.LocalResponseNorm(4), X, None),
    (nn.Softmax(1), X, ["softmax"]),
    (nn.LogSoftmax(-1), X, ["log_softmax"]),
]

ACTIVATIONS = [
    *(
        nn.ReLU(),
        nn.ReLU6(),
        nn.LeakyReLU(0.2),
        nn.PReLU(),
        nn.PReLU(8),
        nn.ELU(0.7),
        nn.SELU(),
        nn.CELU(1.3),
    ),
    *(
        nn.GELU(),
        nn.GELU("tanh"),
        nn.SiLU(),
        nn.Mish(),
        nn.Hardswish(),
        nn.Hardsigmoid(),
        nn.Hardtanh(-0.3, 0.6),
    ),
    *(nn.Softplus(), nn.Softplus(2.0, 1.0), nn.LogSigmoid(), nn.Sigmoid(), nn.Tanh(), nn.Softsign()),
    *(
        nn.Tanhshrink(),
        nn.Hardshrink(0.3),
        nn.Softshrink(0.3),
        nn.Threshold(0.1, 0.0),
        nn.Threshold(0.1, 2.0),
    ),
    *(nn.GLU(1), nn.Softmin(1), nn.Softmax2d(), nn.RReLU(), nn.Dropout(0.5), nn.AlphaDropout(0.5)),
]

RESIZES: list[dict[str, object]] = [
    {"scale_factor": 2},
    {"scale_factor": 2, "mode": "bilinear"},
    {"scale_factor": 2, "mode": "bilinear", "align_corners": True},
    {"size": (9, 7)},
    {"size": (9, 7), "mode": "bilinear"},
    {"size": (9, 7), "mode": "bilinear", "align_corners": True},
    {"size": (9, 7), "mode": "nearest-exact"},
    {"size": (9, 7), "mode": "bicubic"},
    {"size": (9, 13), "mode": "bicubic", "align_corners": True},
    {"scale_factor": 1.7},
    {"scale_factor": 1.7, "mode": "bilinear"},
    {"scale_factor": 0.6, "mode": "bicubic"},
    {"scale_factor": 0.6, "mode": "bilinear", "recompute_scale_factor": True},
    {"size": (3, 4), "mode": "bilinear", "antialias": True},
    {"size": (3, 4), "mode": "bicubic", "antialias": True},
    {"size": (3, 4), "mode": "area"},
    {"scale_factor": (3, 1)},
    {"size": (4, 3)},
]

FUNCTIONS: list[Function] = [
    lambda x: x + 1,
    lambda x: 1 - x,
    lambda x: torch.add(x, x.flip(1), alpha=0.5),
    lambda x: torch.rsub(x, 2.0, alpha=3.0),
    lambda x: x / (x * x + 1),
    lambda x: 1 / (x.abs() + 0.5),
    lambda x: x // 0.3,
    lambda x: torch.div(x, 0.3, rounding_mode="trunc"),
    lambda x: x % 0.7,
    lambda x: torch.fmod(x, 0.7),
    lambda x: x**3 + x.abs() ** 0.5 + (x * x + 1) ** -0.5 + 2**x,
    lambda x: torch.maximum(x, x.flip(2)) + torch.minimum(x, torch.tensor(0.2)),
    lambda x: torch.max(x, -x) - torch.min(x, x * x),
    lambda x: x.exp() + x.abs().log1p() + torch.expm1(x) + x.square(),
    lambda x: x.sin() * x.cos() + x.tan().clamp(-2, 2) + x.atan() + x.sinh().asinh() + x.cosh(),
    lambda x: x.tanh().asin() + x.tanh().acos() + (x * x + 1).acosh() + (0.5 * x.tanh()).atanh(),
    lambda x: x.floor() + x.ceil() + x.round() + x.trunc() + x.frac() + x.sign() + torch.round(x, decimals=1),
    lambda x: torch.erf(x) + torch.erfc(x) + x.abs().sqrt() + (x * x + 1).rsqrt() + (x * x + 1).log2(),
    lambda x: x.clamp(-0.5, 0.5) + x.clamp(min=0.1) + x.clamp(max=0.3) + x.clip(min=x * 0.5),
    lambda x: torch.where(x > 0, x, 0.5 * x),
    lambda x: torch.where((x > 0.5) | (x <= -0.5) & ~(x == 0), x, torch.zeros(())),
    lambda x: x.masked_fill(x < 0, -1.0) * (x != 0.5) + (x >= 0.1).float(),
    lambda x: (
        torch.lerp(x, x.flip(1), 0.3) + torch.addcmul(x, x, x, value=0.5) + torch.addcdiv(x, x, x * x + 1)
    ),
    lambda x: torch.logaddexp(x, x.flip(1)) + torch.hypot(x, x.flip(1)) + torch.nan_to_num(x),
    lambda x: x.isnan() | x.isinf(),
    lambda x: (x.mean((2, 3)), x.mean(1, keepdim=True), x.sum((1, 2)), x.mean((1, 2, 3), keepdim=True)),
    lambda x: (x.amax((2, 3)), x.amin(1), x.prod(2), x.logsumexp(1), x.max(1).values, x.min(1).indices),
    lambda x: (x.argmax(1), x.argmin(2, keepdim=True), (x > 0.5).any(1), (x > 0.5).all(2)),
    lambda x: (x.std((2, 3)), x.var(1), x.var((1, 2), unbiased=False, keepdim=True), *torch.var_mean(x, 1)),
    lambda x: (x.norm(dim=1), x.norm(1, dim=2), torch.linalg.vector_norm(x, 3, 1), F.normalize(x, dim=1)),
    lambda x: (
        torch.linalg.vector_norm(x, float("inf"), 1),
        torch.linalg.vector_norm(x, 0, 2),
        x.aminmax(dim=1),
    ),
    lambda x: (x.sum(), x.mean() + 1, x.max(), x.argmax(), x.std(), x.mean(0)),
    lambda x: (F.cosine_similarity(x, x.flip(2), 1), F.pairwise_distance(x, x.flip(2))),
    lambda x: (
        torch.cat([x, x * 2, x.new_ones(2, 1, 6, 10)], 1) + torch.stack([x[:, 0], x[:, 1]], 1).sum(1, True)
    ),
    lambda x: torch.cat([x, x], 0),
    lambda x: (
        [a + 1 for a in x.split([3, 5], 1)] + [a * 2 for a in x.chunk(3, 3)] + [a - 1 for a in x.unbind(2)]
    ),
    lambda x: (
        x[:, 1:7:2, ..., -4:] + x[:, -1:, :, 3:7] + x.select(1, 2)[:, None, :, :4] + x.narrow(3, 2, 4)[:, :1]
    ),
    lambda x: (x.permute(0, 2, 3, 1), x.transpose(1, 2), x.movedim(1, -1), x.mT, x.swapaxes(2, 3)),
    lambda x: (
        x.flatten(1),
        x.view(2, 4, 2, 6, 10),
        x.reshape(2, -1, 5),
        x.unflatten(1, (2, 4)),
        x.unsqueeze(2),
    ),
    lambda x: (x[:, :1].expand(-1, 8, -1, -1), x.repeat(1, 2, 1, 3), x.tile(2, 1), x.repeat_interleave(2, 3)),
    lambda x: x[:, :1].squeeze(1).expand(3, 2, 6, 10),
    lambda x: (x[:, [2, 0, 5]], x.index_select(3, torch.tensor([9, 0])), x[:, :, [0, 1], [2, 3]]),
    lambda x: x[:, :, torch.arange(3)[:, None], torch.arange(4)],
    lambda x: (
        x.flip(2, 3),
        x.roll(2, 1),
        x.roll((1, -2), (2, 3)),
        x.roll(3),
        x.rot90(1, (2, 3)),
        x.fliplr(),
    ),
    lambda x: (x.unfold(3, 4, 3), x.unfold(1, 2, 2)),
    lambda x: (F.pixel_shuffle(x, 2), F.pixel_unshuffle(x, 2), F.pixel_shuffle(x.flip(1)[0], 2)),
    lambda x: torch.ops.aten.channel_shuffle(x, 4),
    lambda x: (F.pad(x, (1, 2, 3, 0)), F.pad(x, (1, 2), value=3.0), F.pad(x, (-1, 2, 0, -2))),
    lambda x: (
        F.pad(x, (1, 2, 3, 0), "reflect"),
        F.pad(x, (1, 2, 3, 0), "replicate"),
        F.pad(x, (1, 2, 0, 1), "circular"),
    ),
    lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)),
    lambda x: F.lp_pool2d(x, 2.0, 2) + F.lp_pool2d(x, 3.0, 2, 2),
    lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
    lambda x: F.max_unpool1d(*F.max_pool1d(x[:, :, 0], 2, return_indices=True), 2),
    lambda x: (
        F.max_pool2d(x, 3, 2, 1, return_indices=True)[1],
        F.max_pool1d(x[:, 0], 3, return_indices=True)[1],
    ),
    lambda x: x.tril() + x.triu(1),
    lambda x: x.type_as(x).contiguous().clone().detach().to("cpu").float() + 1,
    lambda x: (x * 3).int().float() + (x > 0).to(torch.float32) + (x * 2).long().abs(),
    lambda x: (
        x.softmax(1),
        F.log_softmax(x, 2),
        F.softmin(x, 3),
        F.gumbel_softmax(x, 1) if False else x.sigmoid(),
    ),
    lambda x: F.one_hot(x.argmax(1), 8),
    lambda x: x.diff(dim=1),
]

PRODUCTS: list[Function] = [
    lambda x: x @ x.mT,
    lambda x: torch.matmul(x, torch.linspace(-1, 1, 30).view(10, 3)),
    lambda x: torch.matmul(torch.linspace(-1, 1, 18).view(3, 6), x),
    lambda x: (
        torch.bmm(x[:, 0], x[:, 1].mT) + torch.baddbmm(x[:, 0] @ x[:, 2].mT, x[:, 0], x[:, 1].mT, alpha=0.5)
    ),
    lambda x: torch.einsum("bchw,bkhw->bck", x, x),
    lambda x: torch.einsum("bchw,hk->bckw", x, torch.linspace(0, 1, 12).view(6, 2)),
    lambda x: F.scaled_dot_product_attention(x, x.flip(1), x.flip(2)),
    lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(6, 6).tril().bool(), scale=0.2),
    lambda x: F.linear(x, torch.linspace(-1, 1, 40).view(4, 10), torch.arange(4.0)),
    lambda x: torch.addmm(torch.arange(3.0), x.flatten(1), torch.linspace(-1, 1, 480 * 3).view(480, 3)),
    lambda x: torch.addmm(
        x[:, 0, 0, :3], x.flatten(1), torch.linspace(-1, 1, 480 * 3).view(480, 3), beta=0.5
    ),
    lambda x: F.bilinear(x, x.flip(1), torch.linspace(-1, 1, 300).view(3, 10, 10), torch.arange(3.0)),
    lambda x: torch.outer(x.flatten()[:3], x.flatten()[:4]),
    lambda x: (x.flatten().dot(x.flatten()), x[0, 0] @ x[0, 1, 0]),
]


@pytest.mark.parametrize(
    ("module", "shape", "ops"), WINDOWS + NORMS, ids=[type(case[0]).__name__ for case in WINDOWS + NORMS]
)
def test_module(module: object, shape: tuple[int, ...], ops: list[str] | None) -> None:
    found = assert_agrees(seeded(module), images(*shape))
    assert ops is None or found.ops == ops


@pytest.mark.parametrize("module", ACTIVATIONS, ids=lambda module: type(module).__name__)
def test_activation(module: object) -> None:
    assert_agrees(seeded(module), images(*X) * 2)


@pytest.mark.parametrize("options", RESIZES, ids=lambda options: "-".join(map(str, options.values())))
def test_interpolate(options: dict[str, object]) -> None:
    assert_agrees(lambda x: F.interpolate(x, **options), images(*X))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_interpolate_a_row(mode: str) -> None:
    assert_agrees(lambda x: F.interpolate(x, 13, mode=mode), images(2, 3, 7))


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_grid_sample(mode: str, padding: str, align: bool) -> None:
    grid = images(2, 5, 4, 2, seed=3) * 0.8
    assert_agrees(lambda x, g: F.grid_sample(x, g, mode, padding, align_corners=align), images(*X), grid)


@pytest.mark.parametrize("function", FUNCTIONS + PRODUCTS, ids=lambda f: f"line{f.__code__.co_firstlineno}")
def test_function(function: Function) -> None:
    assert_agrees(function, images(*X))
