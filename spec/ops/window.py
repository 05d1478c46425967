"""Windows that slide over the axes from 2 on: how far they reach, what is padded, and how many of them there are.

Sizes are tuples, one number a spatial axis: (length,), or (height, width). Padding is (before..., after...): (left,
right), or (top, left, bottom, right).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops.base import show
from cnngen.spec.types import Shape

Sizes = tuple[int, ...]
LAYOUTS = {1: "[N, C, L]", 2: "[N, C, H, W]"}
SIDES = {1: ("left", "right"), 2: ("top", "left", "bottom", "right")}


def sizes(value: int | Sizes) -> Sizes:
    """A field of a 1-d or a 2-d layer, one number a spatial axis."""
    return (value,) if isinstance(value, int) else value


def spatial(shape: Shape, count: int) -> Sizes:
    """The sizes of the `count` axes behind N and C, or ShapeError."""
    if len(shape) != count + 2:
        raise ShapeError(f"needs a {count + 2}-D input {LAYOUTS[count]}, got {show(shape)}")
    return shape[2:]


def same_padding(size: int, kernel: int, stride: int, dilation: int, lower: bool) -> tuple[int, int]:
    """Zeros before and after for ceil(size / stride) windows; an odd one goes after (`lower`: before)."""
    total = max(0, (math.ceil(size / stride) - 1) * stride + dilation * (kernel - 1) + 1 - size)
    small, large = total // 2, total - total // 2
    return (large, small) if lower else (small, large)


def window_pads(padding: Sizes | str, space: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Sizes:
    """The padding in elements, with "same" and "same_lower" worked out."""
    if isinstance(padding, tuple):
        return padding
    both = [
        same_padding(*axis, padding == "same_lower")
        for axis in zip(space, kernel, stride, dilation, strict=True)
    ]
    return (*(before for before, _ in both), *(after for _, after in both))


def windows(
    size: int, kernel: int, stride: int, dilation: int, before: int, after: int, ceil: bool = False
) -> int:
    """How many windows fit along an axis (below 1: none); with `ceil` the last may end outside."""
    room = size + before + after - dilation * (kernel - 1) - 1
    if not ceil:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= size + before else count


def window_shape(
    space: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes, pads: Sizes, ceil: bool = False
) -> Sizes:
    """The spatial sizes after a sliding window, or ShapeError when it does not fit once."""
    before, after = pads[: len(space)], pads[len(space) :]
    result = tuple(
        windows(size, taps, step, dilated, first, last, ceil)
        for size, taps, step, dilated, first, last in zip(
            space, kernel, stride, dilation, before, after, strict=True
        )
    )
    if min(result) < 1:
        reach = [step * (taps - 1) + 1 for taps, step in zip(kernel, dilation, strict=True)]
        padded = [sum(axis) for axis in zip(space, before, after, strict=True)]
        raise ShapeError(
            f"a {_times(reach)} window does not fit into the padded input: {_times(padded)}, "
            f"{_times(space)} without padding"
        )
    return result


def _times(numbers: Sequence[int]) -> str:
    return "x".join(map(str, numbers))


def check_pads(pads: Sizes, kernel: Sizes, dilation: Sizes) -> None:
    """ShapeError where a window may lie in the padding alone."""
    for side, pad, taps, step in zip(SIDES[len(kernel)], pads, kernel * 2, dilation * 2, strict=True):
        if pad > step * (taps - 1):
            raise ShapeError(
                f"padding {pad} at the {side} is not less than the window's {step * (taps - 1) + 1}"
            )
