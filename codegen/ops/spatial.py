"""One axis as two: layers over [N, C, L] are those over [N, C, 1, L], and the two shapes are views of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnngen.codegen.graph import Array, Shape
from cnngen.spec.ops.window import Sizes, sizes

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering


def plane(shape: Shape) -> tuple[int, int, int, int]:
    """[N, C, L] as [N, C, 1, L]; [N, C, H, W] as it is. Filters likewise."""
    n, c, *space = shape
    h, w = space if len(space) == 2 else (1, *space)
    return (n, c, h, w)


def flat(array: Array) -> Array:
    """The array with the shape of its `plane`."""
    return array.reshape(plane(array.shape))


def pair(field: int | Sizes, height: int = 1) -> tuple[int, int]:
    """A field of a layer over one or two axes as (height, width); that of one axis has `height`."""
    h, w = (height, *sizes(field))[-2:]
    return (h, w)


def sides(pads: Sizes) -> tuple[int, int, int, int]:
    """(left, right) or (top, left, bottom, right) as (top, left, bottom, right)."""
    top, left, bottom, right = pads if len(pads) == 4 else (0, pads[0], 0, pads[1])
    return (top, left, bottom, right)


def image(low: Lowering, name: str) -> str:
    """The value as convolutions and pools read it: [N, C, H, W], of floats, channels innermost in memory."""
    return low.reshape(low.channels_last(low.floats(name)), plane(low.shape(name)))
