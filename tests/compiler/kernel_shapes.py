"""Random windows and tiles for checks of kernels, in C++."""

from __future__ import annotations

import random
from collections.abc import Sequence

SIZE = {"float": 4, "half": 2, "bfloat16": 2}
CASES = 24  # of each kernel


def aggregate(kind: str, **fields: int) -> str:
    return f"{kind}{{{', '.join(f'.{name} = {value}' for name, value in fields.items())}}}"


def vector(rng: random.Random, dtype: str, channels: int) -> int:
    """A power of two that divides the channels, up to 32 bytes."""
    widths = [v for v in (1, 2, 4, 8, 16) if channels % v == 0 and v * SIZE[dtype] <= 32]
    return rng.choice(widths[-2:])


def extent(rng: random.Random, size: int, taps: int, stride: int, dilation: int) -> tuple[int, int, int]:
    """Output size and padding before and after; sometimes one more output, as ceil mode has it."""
    reach = (taps - 1) * dilation + 1
    least = max(0, reach - size)
    before = rng.randint(0, max(least, taps // 2 * dilation))
    after = max(rng.randint(0, max(1, taps // 2 * dilation)), least - before)
    output = (size + before + after - reach) // stride + 1
    overhang = (size + before + after - reach) % stride
    # The window that ceil mode adds must start before the padding at the end.
    if overhang and output * stride < size + before:
        output += rng.randint(0, 1)
    return output, before, after


def window(rng: random.Random, strides: Sequence[int] = (1, 1, 2, 3)) -> dict[str, int]:
    fields = {
        "r": rng.choice((1, 2, 3, 3, 5)),
        "s": rng.choice((1, 2, 3, 3, 5)),
        "stride_h": rng.choice(strides),
        "stride_w": rng.choice(strides),
        "dilation_h": rng.choice((1, 1, 1, 2, 3)),
        "dilation_w": rng.choice((1, 1, 1, 2, 3)),
    }
    h, w = rng.randint(1, 13), rng.randint(1, 13)
    oh, top, bottom = extent(rng, h, fields["r"], fields["stride_h"], fields["dilation_h"])
    ow, left, right = extent(rng, w, fields["s"], fields["stride_w"], fields["dilation_w"])
    pads = {"pad_top": top, "pad_left": left, "pad_bottom": bottom, "pad_right": right}
    return {"h": h, "w": w, "oh": oh, "ow": ow, **fields, **pads}


def window_shape(channels: int, fields: dict[str, int]) -> str:
    return aggregate("WindowShape", c=channels, **fields)


def window_tile(rng: random.Random, dtype: str, channels: int) -> str:
    v = vector(rng, dtype, channels)
    return aggregate(
        "Tile",
        v=v,
        tw=rng.choice((1, 2, 3, 4, 8)),
        th=rng.choice((1, 1, 2, 3, 4)),
        threads=rng.choice((32, 96, 128)),
        groups=rng.choice([0, *(g for g in (1, 2, 3, 4) if channels // v % g == 0)]),
    )


def large_window(channels: int, size: int, taps: int, pad: int) -> str:
    pads = {"pad_top": pad, "pad_left": pad, "pad_bottom": pad, "pad_right": pad}
    out = size + 2 * pad - taps + 1
    return window_shape(channels, {"h": size, "w": size, "oh": out, "ow": out, "r": taps, "s": taps, **pads})
