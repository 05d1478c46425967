"""Patterns of 1-d and transposed convolutions, pools, norms, reductions and products.

Continuous ones of moderate slope, so that rounding stays small from end to end: where a maximum stands is not among
them (`test_spatial_ops.py` and `tests/compiler` have it).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .builder import CHANNELS, Builder

GENTLE = 0.5  # of norms: added to the variance


def sequence(b: Builder) -> str:
    """A value [N, C, L]."""
    x = b.pick(3)
    shapes: dict[int, list[int]] = {4: [0, 0, -1], 2: [0, 1, -1]}
    return b.add("reshape", x, shape=shapes[len(b.shape(x))]) if len(b.shape(x)) in shapes else x


def conv1d(b: Builder) -> str:
    x, rng = sequence(b), b.rng
    if len(b.shape(x)) != 3:
        return x
    c = b.shape(x)[1]
    groups = rng.choice((1, 1, c))
    fields: dict[str, Any] = {
        "out_channels": groups * rng.choice((1, 2, 3) if groups > 1 else CHANNELS),
        "kernel": rng.choice((1, 2, 3, 5)),
        "stride": rng.choice((1, 1, 2)),
        "padding": rng.choice((0, 1, [0, 2], "same", "same_lower")),
        "groups": groups,
        "bias": not b.chance(30),
        "activation": rng.choice((None, "relu", "silu")),
    }
    y = b.add("conv1d", x, **fields)
    y = y if y != x else b.add("conv1d", x, **{**fields, "padding": "same"})
    return b.add("batch_norm", y, epsilon=1e-3) if b.chance(40) else y


def conv_transpose(b: Builder) -> str:
    rng = b.rng
    axes = rng.choice((1, 2, 2))
    x = sequence(b) if axes == 1 else b.pick(4)
    if len(b.shape(x)) != axes + 2:
        return x
    groups = b.shape(x)[1] if b.chance(20) else 1
    fields: dict[str, Any] = {
        "out_channels": groups * rng.choice((1, 2, 4)),
        "kernel": rng.choice((1, 2, 3, 4)),
        "stride": rng.choice((1, 2, 2, 3)),
        "padding": rng.choice((0, 0, 1)),
        "output_padding": rng.choice((0, 0, 1)),
        "dilation": rng.choice((1, 1, 2)),
        "groups": groups,
        "bias": not b.chance(30),
        "activation": rng.choice((None, None, "relu", "mish")),
    }
    y = b.add(f"conv_transpose{axes}d", x, **fields)
    return b.add("batch_norm", y, epsilon=1e-3) if b.chance(40) else y


def more_pools(b: Builder) -> str:
    rng = b.rng
    axes = rng.choice((1, 2))
    x = sequence(b) if axes == 1 else b.pick(4)
    if len(b.shape(x)) != axes + 2:
        return x
    if b.chance(40):
        kind = rng.choice(("avg", "max"))
        return b.add(f"adaptive_{kind}_pool{axes}d", x, output_size=rng.choice((1, 2, 3, 5)))
    op = rng.choice(("lp_pool", "avg_pool", "max_pool"))
    fields: dict[str, Any] = {
        "kernel": rng.choice((1, 2, 3)),
        "stride": rng.choice((1, 2)),
        "ceil_mode": b.chance(30),
    }
    if op == "lp_pool":
        x = b.add("add", b.add("sigmoid", x), value=0.5)  # a root is steep at 0
        fields["p"] = rng.choice((1.0, 2.0, 3.0))
    return b.add(f"{op}{axes}d", x, **fields)


def more_global_pools(b: Builder) -> str:
    x = b.pick(b.rng.choice((3, 4, 4)))
    op = b.rng.choice(("global_avg_pool", "global_max_pool", "global_lp_pool"))
    return b.add(op, b.add("sigmoid", x) if op == "global_lp_pool" else x, keepdims=not b.chance(40))


def norm(b: Builder) -> str:
    x, rng = b.pick(b.rng.choice((2, 3, 4, 4))), b.rng
    rank = len(b.shape(x))
    if rank < 2:
        return x
    axis = rng.randint(1, rank - 1)
    match rng.choice(("instance", "group", "layer", "rms", "lrn")):
        case "instance":
            return b.add("instance_norm", x, epsilon=GENTLE, affine=b.chance(60))
        case "group":
            divisors = [g for g in range(1, b.shape(x)[1] + 1) if b.shape(x)[1] % g == 0]
            return b.add("group_norm", x, groups=rng.choice(divisors), epsilon=GENTLE, affine=b.chance(60))
        case "layer":
            return b.add("layer_norm", x, axis=axis, epsilon=GENTLE, affine=b.chance(60), bias=b.chance(60))
        case "rms":
            return b.add("rms_norm", x, axis=axis, epsilon=GENTLE, affine=b.chance(60))
    return b.add("lrn", x, size=rng.choice((1, 2, 3, 5)), alpha=0.5)


def reduction(b: Builder) -> str:
    x, rng = b.pick(), b.rng
    rank = len(b.shape(x))
    if rank < 2:
        return x
    axes = rng.sample(range(1, rank), rng.randint(1, rank - 1))
    op = rng.choice(("mean", "max", "min", "log_sum_exp", "l1", "l2", "sum_square", "sum"))
    if op in ("l2", "sum_square", "l1", "sum"):
        x = b.add("mul", b.add("add", b.add("sigmoid", x), value=0.5), value=0.1)
    keepdims = len(axes) == rank - 1 or not b.chance(40)  # channels stay
    return b.add(f"reduce_{op}", x, axes=axes, keepdims=keepdims)


def along_axis(b: Builder) -> str:
    x = b.pick()
    rank = len(b.shape(x))
    return b.add("log_softmax", b.add("tanh", x), axis=b.rng.randint(1, rank - 1)) if rank > 1 else x


def distribution(b: Builder) -> str:
    x = sequence(b)
    if len(b.shape(x)) != 3:
        return x
    bins = [k for k in range(1, 5) if b.shape(x)[1] % k == 0]
    return b.add("dfl", b.add("tanh", x), bins=b.rng.choice(bins))


def product(b: Builder) -> str:
    """Scores of a sequence with itself, and what they weigh; of a batch's items each its own."""
    x = sequence(b)
    if len(b.shape(x)) != 3 or b.shape(x)[2] > 40:
        return x
    small = b.add("tanh", x)
    scores = b.add("softmax", b.add("matmul", small, small, transpose_a=True))
    return b.add("matmul", small, scores) if b.chance(70) else scores


SPATIAL_PATTERNS: tuple[Callable[[Builder], str], ...] = (
    conv1d, conv1d, conv_transpose, conv_transpose, more_pools, more_pools, more_global_pools, norm, norm, reduction,
    reduction, along_axis, distribution, product,
)  # fmt: skip
