"""What random networks are made of: patterns of one op each, or of a few that some pass looks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cnngen.spec.ops import Conv2d, Linear
from cnngen.spec.types import Shape

from .builder import CHANNELS, SIDES, Builder
from .data_patterns import DATA_PATTERNS, MORE_FUNCTIONS
from .spatial_patterns import SPATIAL_PATTERNS

KERNELS = (1, 2, 3, 3, 5)
FUNCTIONS: tuple[dict[str, Any], ...] = (
    {"op": "relu"},
    {"op": "relu6"},
    {"op": "leaky_relu", "slope": 0.2},
    {"op": "clip", "min": -0.5, "max": 0.75},
    {"op": "clip", "min": -0.25},
    {"op": "clip", "max": 0.5},
    {"op": "sigmoid"},
    {"op": "tanh"},
    {"op": "elu", "alpha": 0.7},
    {"op": "gelu"},
    {"op": "gelu", "approximate": "tanh"},
    {"op": "softplus"},
    {"op": "silu"},
    {"op": "hard_sigmoid"},
    {"op": "hard_sigmoid", "alpha": 0.3, "beta": 0.4},
    {"op": "hard_swish"},
    {"op": "mish"},
    *MORE_FUNCTIONS,
)


def padding(b: Builder) -> object:
    return b.rng.choice(
        (0, 0, 1, 1, [1, 0], [0, 2], [0, 1, 2, 0], [2, 1, 0, 1], "same", "same", "same_lower")
    )


def conv(b: Builder, x: str | None = None, **fixed: object) -> str:
    x = x or b.pick(4)
    if len(b.shape(x)) != 4:
        return x
    rng, c = b.rng, b.shape(x)[1]
    divisors = [g for g in range(2, c + 1) if c % g == 0] or [1]
    groups = rng.choice((1, 1, 1, c, rng.choice(divisors)))
    fields = {
        "out_channels": groups * rng.choice([k for k in CHANNELS if k * groups <= 16] or [1]),
        "kernel": [rng.choice(KERNELS), rng.choice(KERNELS)],
        "stride": rng.choice((1, 1, 1, 2, [2, 1], 3)),
        "padding": padding(b),
        "dilation": rng.choice((1, 1, 1, 2, [1, 3])),
        "groups": groups,
        "bias": not b.chance(30),
        "activation": rng.choice((None, None, None, *FUNCTIONS)),
    }
    y = b.add("conv2d", x, **{**fields, **fixed})
    return (
        y if y != x else b.add("conv2d", x, **{**fields, "padding": "same", **fixed})
    )  # the window did not fit


def same_conv(b: Builder, x: str, **fixed: object) -> str:
    """A convolution whose output has the shape of its input."""
    c = b.shape(x)[1] if len(b.shape(x)) == 4 else 1
    return conv(b, x, **{"out_channels": c, "stride": 1, "padding": "same", "groups": 1, **fixed})


def linear(b: Builder) -> str:
    fields = {"bias": not b.chance(30), "activation": b.rng.choice((None, None, *FUNCTIONS))}
    return b.add("linear", b.pick(b.rng.choice((2, 2, 3, 4))), out_features=b.rng.choice(CHANNELS), **fields)


def pool(b: Builder) -> str:
    rng = b.rng
    fields: dict[str, Any] = {"kernel": [rng.choice((1, 2, 3)), rng.choice((2, 3, 5))], "padding": padding(b)}
    fields |= {"stride": rng.choice((1, 2, [3, 1]))} if b.chance(60) else {}
    fields |= {"ceil_mode": b.chance(40)}
    x, op = b.pick(4), rng.choice(("avg_pool2d", "max_pool2d"))
    fields |= (
        {"count_include_pad": b.chance(50)} if op == "avg_pool2d" else {"dilation": rng.choice((1, 1, 2))}
    )
    if min(b.shape(x)[2:], default=1) < 2:
        fields.pop("dilation", None)  # its taps would miss the input
    y = b.add(op, x, **fields)
    return y if y != x else b.add(op, x, kernel=2, padding=[0, 0, 1, 1])  # the window did not fit


def global_pool(b: Builder) -> str:
    return b.add("global_avg_pool", b.pick(4), keepdims=not b.chance(40))


def batch_norm(b: Builder) -> str:
    return b.add("batch_norm", b.pick(), epsilon=b.rng.choice((1e-5, 1e-3)), affine=not b.chance(25))


def activation(b: Builder) -> str:
    return b.add("identity", b.pick()) if b.chance(10) else _function(b, b.pick())


def _norm(b: Builder, x: str) -> str:
    return b.add("batch_norm", x)


def _function(b: Builder, x: str) -> str:
    fields = dict(b.rng.choice(FUNCTIONS))
    return b.add(fields.pop("op"), x, **fields)


def prelu(b: Builder) -> str:
    return b.add("prelu", b.pick(), shared=b.chance(25))


def with_number(b: Builder) -> str:
    op = b.rng.choice(("add", "sub", "mul", "div"))
    number = b.rng.choice((2.0, -0.5, 1.0, 0.25, 0.0) if op != "div" else (2.0, -0.5, 1.0))
    reverse = {"reverse": True} if op == "sub" and b.chance(50) else {}
    return b.add(op, b.pick(), value=number, **reverse)


def with_parameter(b: Builder) -> str:
    x = b.pick()
    own = b.shape(x)[1:]
    full = tuple(extent if not b.chance(40) else 1 for extent in own)
    shape = b.rng.choice((None, (1,), own[-1:], full, (1, *full), own))
    name = b.rng.choice((f"constant{len(b.layers)}", b.pick(), "constant"))
    known = any(layer.weight_name("parameter") == name for layer in b.layers)
    fields = {"parameter": f"constant{len(b.layers)}" if known else name, "parameter_shape": shape}
    if len(own) < 1:
        return x
    return b.add(b.rng.choice(("add", "sub", "mul", "div")), x, **fields)


def broadcasts(a: Shape, b: Shape) -> bool:
    return (
        len(a) == len(b)
        and all(x == y or 1 in (x, y) for x, y in zip(a[1:], b[1:], strict=True))
        and a[0] == b[0]
    )


def with_layer(b: Builder) -> str:
    x = b.pick()
    pair = [x, b.beside(x, broadcasts)]
    b.rng.shuffle(pair)
    reverse = {"reverse": True} if b.chance(30) else {}
    op = b.rng.choice(("add", "sub", "mul"))
    return b.add(op, *pair, **(reverse if op == "sub" else {}))


def quotient(b: Builder) -> str:
    """A divisor that is well away from zero."""
    x = b.pick()
    divisor = b.add("add", b.add("sigmoid", b.beside(x, broadcasts)), value=0.5)
    if b.chance(30):
        return b.add("div", divisor, value=b.rng.choice((1.0, -2.0)), reverse=True)
    return b.add("div", divisor, x, reverse=True) if b.chance(30) else b.add("div", x, divisor)


def concat(b: Builder) -> str:
    x = b.pick()
    if len(b.shape(x)) < 2:
        return x
    axis = b.rng.randrange(1, len(b.shape(x)))

    def joins(a: Shape, other: Shape) -> bool:
        return len(a) == len(other) and a[:axis] + a[axis + 1 :] == other[:axis] + other[axis + 1 :]

    parts = [x, *(b.beside(x, joins) for _ in range(b.rng.randint(1, 2)))]
    b.rng.shuffle(parts)
    return b.add("concat", *parts, axis=b.rng.choice((axis, axis - len(b.shape(x)))))


def upsample(b: Builder) -> str:
    size = b.rng.choice(
        ({"scale": 2}, {"scale": [1, 3]}, {"size": [b.rng.choice(SIDES), b.rng.choice(SIDES)]})
    )
    mode = b.rng.choice(({}, {"mode": "bilinear"}, {"mode": "bilinear", "align_corners": True}))
    return b.add("upsample", b.pick(4), **size, **mode)


def pad(b: Builder) -> str:
    sides = b.rng.choice((1, [0, 2], [1, 0, 2, 3], [0, 0, 1, 0]))
    return b.add("pad", b.pick(4), padding=sides, value=b.rng.choice((0.0, 0.0, -0.5)))


def reshape(b: Builder) -> str:
    x = b.pick()
    own = b.shape(x)
    size = int(np.prod(own[1:]))
    part = b.rng.choice([d for d in range(1, size + 1) if size % d == 0])
    low = b.rng.choice([d for d in range(1, part + 1) if part % d == 0])
    if b.chance(30):
        return b.add("flatten", x, axis=b.rng.randrange(1, max(2, len(own))))
    return b.add("reshape", x, shape=b.rng.choice(([0, -1], [0, part, -1], [0, low, -1, part // low],
                                                   [0, 1, low, 1, -1], [0, *own[:0:-1]])))  # fmt: skip


def transpose(b: Builder) -> str:
    x = b.pick()
    inner = list(range(1, len(b.shape(x))))
    b.rng.shuffle(inner)
    return b.add("transpose", x, axes=[0, *inner])


def softmax(b: Builder) -> str:
    x = b.pick()
    return b.add("softmax", x, axis=b.rng.randrange(1, len(b.shape(x))) if b.chance(60) else -1)


def bias_only(b: Builder) -> str:
    """Convolutions of a map that is known to be zero, as a network's first step in time has them."""
    x = b.pick(4)
    zeros = b.add("zeros", shape=b.shape(x)[1:])
    y = same_conv(b, zeros, out_channels=b.shape(x)[1]) if b.chance(70) else b.add("add", zeros, x)
    y = b.add("max_pool2d", y, kernel=2, padding="same", stride=1) if b.chance(20) else y
    return b.add(b.rng.choice(("add", "mul", "concat")), x, y)


def block(b: Builder) -> str:
    """Convolution, norm and activation in some order, and a residual."""
    x = y = b.pick(4)
    for step in b.rng.choice(("cnr", "nrc", "ncr", "cnn", "crcn", "nnc")):
        y = {"c": same_conv, "n": _norm, "r": _function}[step](b, y)
    if b.chance(60):
        y = b.add("add", *b.rng.sample((x, y), 2))
    return _function(b, y) if b.chance(60) else y


def gate(b: Builder) -> str:
    """Squeeze and excitation; or x * sigmoid(x)."""
    x = b.pick(4)
    y = same_conv(b, b.add("global_avg_pool", x), kernel=1, activation=None) if b.chance(60) else x
    return b.add("mul", x, b.add("sigmoid", y))


def squeeze_excite(b: Builder) -> str:
    """Squeeze and excitation by two products, of pixels or of matrices, sometimes with more between them."""
    x = b.pick(4)
    if len(b.shape(x)) != 4:
        return x
    rng, c = b.rng, b.shape(x)[1]
    pixels = b.chance(60)
    if b.chance(40):
        function = rng.choice((None, *FUNCTIONS))
        x = b.add("conv2d", x, out_channels=c, groups=c, kernel=3, padding=1, activation=function)

    def product(y: str, count: int) -> str:
        fields = {"bias": not b.chance(25), "activation": rng.choice((None, *FUNCTIONS))}
        if pixels:
            return b.add("conv2d", y, out_channels=count, kernel=1, **fields)
        return b.add("linear", y, out_features=count, **fields)

    hidden = product(b.add("global_avg_pool", x, keepdims=pixels), rng.choice(CHANNELS))
    y = hidden
    for more in rng.choice(((), (), (), (_norm,), (_function,), (_norm, _function))):
        y = more(b, y)
    y = b.add("prelu", y) if b.chance(20) else y
    y = b.add("mul", y, hidden) if b.chance(10) else y
    y = product(y, c)
    y = y if pixels else b.add("reshape", y, shape=[0, c, 1, 1])
    return b.add("mul", *rng.sample((x, _function(b, y)), 2))


def pyramid(b: Builder) -> str:
    """Max pools of max pools, or of growing windows, behind what they are of; sometimes not quite."""
    x = b.pick(4)
    if len(b.shape(x)) != 4:
        return x
    kernel, y, levels = b.rng.choice((3, 3, 5)), x, [x]
    for level in range(1, b.rng.randint(2, 3) + 1):
        if b.chance(60):
            y = b.add("max_pool2d", y, kernel=kernel, stride=1, padding=kernel // 2)
        else:
            reach = level * (kernel // 2)
            y = b.add("max_pool2d", x, kernel=2 * reach + 1, stride=1, padding=reach)
        levels.append(y)
    if b.chance(15):
        levels.reverse()
    return b.add("concat", *levels)


def shuffle(b: Builder) -> str:
    x = b.pick(4)
    groups = b.rng.choice((2, 3, 4))
    if len(b.shape(x)) != 4 or b.shape(x)[1] % groups:
        return x
    _, c, h, w = b.shape(x)
    y = b.add("transpose", b.add("reshape", x, shape=[0, groups, c // groups, h, w]), axes=[0, 2, 1, 3, 4])
    return b.add("reshape", y, shape=[0, c, h, w])


def beyond_batch(b: Builder) -> str:
    """Work on a value whose first axis is not the batch alone, and back."""
    x = b.pick()
    own = b.shape(x)
    if b.chance(50) and len(own) > 2:
        merged = b.add("reshape", x, shape=[-1, *own[2:]])
        return b.add("reshape", _function(b, merged), shape=[-1, *own[1:]])
    axes = [1, 0, *range(2, len(own))]
    return b.add("transpose", _function(b, b.add("transpose", x, axes=axes)), axes=axes)


def turned(b: Builder) -> str:
    """A value and the same memory in another order."""
    x = b.pick(3)
    own = b.shape(x)
    y = b.add("transpose", b.add("reshape", x, shape=[0, *own[:0:-1]]), axes=[0, *range(len(own) - 1, 0, -1)])
    return b.add(b.rng.choice(("add", "mul")), x, y)


def again(b: Builder) -> str:
    """A layer once more, on the same inputs and the same weights."""
    if not b.layers:
        return b.pick()
    layer = b.rng.choice(b.layers)
    fields = layer.model_dump(exclude_unset=True, exclude={"name", "op", "input", "inputs"})
    if isinstance(layer, Conv2d | Linear):
        fields |= {"weight": layer.weight_name("weight"), "bias": layer.bias and layer.weight_name("bias")}
    sources = b.sources(layer) if layer.arity[1] != 0 else []
    return b.add(layer.op, *sources, **fields)


def enlarged(b: Builder) -> str:
    """A convolution of repeated pixels: it can as well be one of each phase."""
    rng, x = b.rng, conv(b)
    if len(b.shape(x)) != 4:
        return x
    factors = rng.choice((2, 2, [1, 2], 3))
    y = b.add("upsample", x, scale=factors)
    if y == x:
        return y
    y = _function(b, y) if b.chance(30) else y
    return conv(b, y, stride=1, dilation=1, groups=1, **({"kernel": 1, "padding": 0} if b.chance(30) else {}))


def siblings(b: Builder) -> str:
    """Convolutions of one input that can as well be one."""
    x, fields = (
        b.pick(4),
        {"kernel": b.rng.choice((1, 3)), "stride": 1, "dilation": 1, "groups": 1, "bias": True},
    )
    several = [conv(b, x, padding="same", **fields) for _ in range(b.rng.choice((2, 3)))]
    fits = [name for name in several if b.shape(name)[2:] == b.shape(x)[2:]]
    return b.add("concat", *fits) if len(fits) > 1 else several[-1]


def modulated(b: Builder) -> str:
    """A norm that two convolutions of another image scale and shift."""
    x = b.pick(4)
    if len(b.shape(x)) != 4:
        return x
    fields = {"out_channels": b.shape(x)[1], "kernel": b.rng.choice((1, 3)), "padding": "same"}
    image = _function(b, x)
    scale, shift = (b.add("conv2d", image, bias=not b.chance(25), **fields) for _ in range(2))
    scale = b.add("add", scale, value=1.0) if b.chance(70) else scale
    norm = b.add("batch_norm", x)
    product = b.add("mul", *b.rng.sample((norm, scale), 2))
    return b.add("add", *b.rng.sample((product, shift), 2))


def stem(b: Builder) -> str:
    """A convolution of stride 2 that can as well read pairs of pixels."""
    return conv(b, b.add("mul", b.pick(4), value=0.5), stride=2, dilation=1, groups=1)


PATTERNS: tuple[Callable[[Builder], str], ...] = (
    conv, conv, conv, conv, block, block, pool, pool, activation, with_layer, linear, global_pool, batch_norm,
    prelu, with_number, with_parameter, quotient, concat, upsample, pad, reshape, transpose, softmax,
    bias_only, gate, squeeze_excite, pyramid, shuffle, beyond_batch, turned, again, enlarged, siblings, modulated,
    stem,
    *DATA_PATTERNS, *SPATIAL_PATTERNS,
)  # fmt: skip
