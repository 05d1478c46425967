"""Patterns of the pointwise and data-moving ops: continuous ones, so that rounding stays small from end to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cnngen.spec.types import Shape

from .builder import Builder

# Of a number between -1 and 1; of one between 0.5 and 1.5.
OF_SMALL = ("exp", "sin", "cos", "tan", "atan", "sinh", "cosh", "asinh", "erf", "abs", "neg", "softsign")
OF_POSITIVE = ("log", "sqrt", "rsqrt", "reciprocal")
MORE_FUNCTIONS: tuple[dict[str, Any], ...] = (
    {"op": "selu"},
    {"op": "celu", "alpha": 1.5},
    {"op": "softsign"},
    {"op": "shrink", "bias": 0.5, "lambd": 0.5},
    {"op": "swish", "alpha": 1.5},
    {"op": "softplus", "beta": 2.0},
)


def same_shape(a: Shape, b: Shape) -> bool:
    return a == b


def function(b: Builder) -> str:
    if b.chance(50):
        return b.add(b.rng.choice(OF_SMALL), b.add("tanh", b.pick()))
    return b.add(b.rng.choice(OF_POSITIVE), b.add("add", b.add("sigmoid", b.pick()), value=0.5))


def power(b: Builder) -> str:
    base = b.add("add", b.add("sigmoid", b.pick()), value=0.5)
    if b.chance(30):
        return b.add("pow", b.add("tanh", b.pick()), value=2.0, reverse=True)
    return b.add("pow", base, value=b.rng.choice((2.0, 3.0, 0.5, -1.0, 1.7)))


def many(b: Builder) -> str:
    x = b.pick()
    inputs = [x, *(b.beside(x, same_shape) for _ in range(b.rng.randint(1, 3)))]
    return b.add(b.rng.choice(("add", "mean", "minimum", "maximum")), *inputs)


def choice(b: Builder) -> str:
    """The smaller of two, by a comparison; or what a condition of conditions takes of twice the same."""
    x = b.pick()
    y = b.beside(x, same_shape)
    less = b.add(b.rng.choice(("less", "less_or_equal")), x, y)
    if b.chance(40):
        less = b.add("logical_not", b.add(b.rng.choice(("greater", "greater_or_equal")), x, y))
    if b.chance(30):
        other = b.add("cast", less, to=b.rng.choice(("bool", "int32", "uint8", "float32")))
        less = b.add(b.rng.choice(("logical_and", "logical_or")), less, other)
    return b.add("where", less, x, y)


def border(b: Builder) -> str:
    x = b.pick()
    mode = b.rng.choice(("constant", "reflect", "edge", "wrap"))
    pads = [[0, 0]]
    for extent in b.shape(x)[1:]:
        most = {"reflect": extent - 1, "wrap": extent}.get(mode, 2)
        pads.append([b.rng.randint(-(extent > 3), min(2, most - (extent > 3))) for _ in range(2)])
    return b.add("pad", x, pads=pads, mode=mode, **({"value": -0.5} if mode == "constant" else {}))


def part(b: Builder) -> str:
    x = b.pick()
    axis = b.rng.randrange(1, len(b.shape(x)))
    start = b.rng.choice((None, 0, 1, -1))
    return b.add("slice", x, axes=[axis], starts=[start], ends=[None], steps=[b.rng.choice((1, 2, -1, -2))])


def elsewhere(b: Builder) -> str:
    x = b.pick()
    axes = b.rng.sample(range(1, len(b.shape(x))), b.rng.randint(1, len(b.shape(x)) - 1))
    extent = b.shape(x)[axes[0]]
    match b.rng.choice(("flip", "roll", "gather", "gather", "tile", "expand")):
        case "flip":
            return b.add("flip", x, axes=axes)
        case "roll":
            return b.add("roll", x, axes=axes, shifts=[b.rng.randint(-3, 9) for _ in axes])
        case "gather":
            indices = np.array([b.rng.randint(-extent, extent - 1) for _ in range(4)])
            shape: tuple[int, ...] = b.rng.choice(((4,), (2, 2), (4, 1)))
            return b.add("gather", x, axis=axes[0], indices=indices.reshape(shape).tolist())
        case "tile":
            return b.add("tile", x, repeats=[1, *(b.rng.randint(1, 2) for _ in b.shape(x)[1:])])
    return b.add("expand", x, shape=[1, *(3 if size == 1 else size for size in b.shape(x)[1:])])


def blocks(b: Builder) -> str:
    x = b.pick(4)
    mode = b.rng.choice(("dcr", "crd"))
    match b.rng.choice(("deep", "wide", "shuffle", "unfold")):
        case "deep":
            return b.add("space_to_depth", x, block=2, mode=mode)
        case "wide":
            return b.add("depth_to_space", x, block=2, mode=mode)
        case "shuffle":
            return b.add("channel_shuffle", x, groups=b.rng.choice((2, 3)))
    fields = {"kernel": [2, 3], "stride": b.rng.choice((1, 2)), "dilation": b.rng.choice((1, 1, [2, 1]))}
    return b.add("unfold2d", x, padding=b.rng.choice((0, 1, [0, 1, 2, 0])), **fields)


def resize(b: Builder) -> str:
    x = b.pick(b.rng.choice((3, 4, 4)))
    spatial = range(2, len(b.shape(x)))
    target: dict[str, Any] = {"scales": [b.rng.choice((0.5, 1.0, 1.5, 2.0)) for _ in spatial]}
    if b.chance(50):
        target = {"sizes": [b.rng.choice((1, 3, 4, 8)) for _ in spatial]}
    if not spatial:
        return x
    coordinates = b.rng.choice(("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"))
    mode = b.rng.choice(("nearest", "linear", "linear", "cubic"))
    filters = {"antialias": b.chance(30), "exclude_outside": b.chance(30)} if mode != "nearest" else {}
    rounding = {"nearest": b.rng.choice(("floor", "ceil", "round_prefer_floor"))} if mode == "nearest" else {}
    return b.add("resize", x, **target, coordinates=coordinates, mode=mode, **filters, **rounding)


def sample(b: Builder) -> str:
    """Places near those that leave the image as it is, in a network's own arithmetic."""
    x = b.pick(4)
    if len(b.shape(x)) != 4 or b.shape(x)[1] < 2:
        return x
    places = b.add("slice", b.add("tanh", x), axes=[1], starts=[0], ends=[2])
    grid = b.add("mul", b.add("transpose", places, axes=[0, 2, 3, 1]), value=1.25)
    if b.shape(grid)[3:] != (2,):
        return x
    padding = b.rng.choice(("zeros", "border", "reflection"))
    return b.add("grid_sample", x, grid, padding=padding, align_corners=b.chance(50))


def known(b: Builder) -> str:
    """A constant, or one number, together with a value."""
    x = b.pick()
    own = b.shape(x)[1:]
    if b.chance(40):
        y = b.add("fill", shape=own, value=b.rng.choice((0.5, -1.0, 1.0)))
    else:
        y = b.add("constant", shape=own, parameter=f"tensor{len(b.layers)}")
    return b.add(b.rng.choice(("add", "mul", "concat")), x, y)


DATA_PATTERNS: tuple[Callable[[Builder], str], ...] = (
    function, power, many, choice, border, part, elsewhere, elsewhere, blocks, resize, sample, known,
)  # fmt: skip
