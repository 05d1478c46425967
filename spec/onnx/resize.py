"""Resize and Upsample: accepted where the pixels read are those of the spec's two modes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cnngen.spec.importing.draft import Draft, RefusalError
from cnngen.spec.onnx.walk import Node

_LARGEST_SIDE = 1 << 20
Positions = npt.NDArray[np.float64]


def resize(node: Node) -> Draft:
    """Resize (opset 10 and newer)."""
    x = node.tensor()
    first = 1 if node.opset < 11 else 2
    scales = node.constant(first, "scales")
    sizes = node.constant(3, "sizes") if node.opset >= 11 else None
    for name, plain in (("antialias", 0), ("exclude_outside", 0)):
        if node.integer(name, plain) != plain:
            raise RefusalError(f"{name} is not supported")
    if node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise RefusalError("keep_aspect_ratio_policy is not supported")
    axes = node.integers("axes") or list(range(len(x.shape)))
    factors, target = [1.0] * len(x.shape), list(x.shape)
    if sizes is not None and sizes.size:
        for axis, size in zip(axes, sizes.reshape(-1), strict=True):
            target[axis], factors[axis] = int(size), int(size) / x.shape[axis]
    elif scales is not None and scales.size:
        for axis, factor in zip(axes, scales.reshape(-1), strict=True):
            target[axis], factors[axis] = int(np.floor(x.shape[axis] * float(factor))), float(factor)
    else:
        raise RefusalError("neither scales nor sizes are given")
    default = "asymmetric" if node.opset < 11 else "half_pixel"
    return _resize(
        node,
        x,
        target,
        factors,
        node.text("coordinate_transformation_mode", default),
        node.text("nearest_mode", "round_prefer_floor" if node.opset >= 11 else "floor"),
    )


def upsample(node: Node) -> Draft:
    """Upsample (opset 9)."""
    x, scales = node.tensor(), node.constant(1, "scales")
    if scales is None or scales.size != len(x.shape):
        raise RefusalError("its scales do not fit its input")
    factors = [float(factor) for factor in scales.reshape(-1)]
    target = [int(np.floor(size * factor)) for size, factor in zip(x.shape, factors, strict=True)]
    return _resize(node, x, target, factors, "asymmetric", "floor")


def _resize(
    node: Node, x: Draft, target: Sequence[int], factors: Sequence[float], coordinates: str, rounding: str
) -> Draft:
    mode = node.text("mode", "nearest")
    if tuple(target) == x.shape:
        return x
    if len(x.shape) != 4 or tuple(target[:2]) != x.shape[:2]:
        raise RefusalError(f"only height and width can be resized, not {list(x.shape)} to {list(target)}")
    if mode not in ("nearest", "linear", "bilinear"):
        raise RefusalError(f"mode {mode!r} is not supported, only 'nearest' and 'linear'")
    if max(target) > _LARGEST_SIDE or min(target) < 1:
        raise RefusalError(f"a size of {list(target[2:])} is not possible")
    pairs = list(zip(x.shape[2:], target[2:], factors[2:], strict=True))
    fields: dict[str, object] = {"size": list(target[2:])}
    if all(after % before == 0 for before, after, _ in pairs):
        fields = {"scale": [after // before for before, after, _ in pairs]}
    theirs = [_positions(coordinates, *pair) for pair in pairs]
    if mode == "nearest":
        ours = [np.floor(np.arange(after) * before / after) for before, after, _ in pairs]
        if _same(ours, [_round(positions, rounding) for positions in theirs], pairs):
            return node.draft("upsample", [x], fields)
        what = f"mode 'nearest', {coordinates}, {rounding}"
    else:
        for align in (False, True):
            name = "align_corners" if align else "half_pixel"
            ours = [_positions(name, before, after, after / before) for before, after, _ in pairs]
            if _same(ours, theirs, pairs):
                fields |= {"mode": "bilinear", "align_corners": True} if align else {"mode": "bilinear"}
                return node.draft("upsample", [x], fields)
        what = f"mode 'linear', {coordinates}"
    raise RefusalError(
        f"{what} from {list(x.shape[2:])} to {list(target[2:])} reads other pixels than the spec's modes"
    )


def _positions(coordinates: str, before: int, after: int, factor: float) -> Positions:
    """Where each output pixel lies between the input's, in ONNX's words."""
    y = np.arange(after, dtype=np.float64)
    if coordinates == "align_corners":
        # a factor that does not give a whole size is read in two ways; only where both agree is it accepted
        return y * ((before - 1) / (before * factor - 1) if before * factor > 1 else 0.0)
    if coordinates == "asymmetric":
        return y / factor
    if coordinates == "half_pixel" or (coordinates == "pytorch_half_pixel" and after > 1):
        return (y + 0.5) / factor - 0.5
    if coordinates == "pytorch_half_pixel":
        return y * 0.0
    if coordinates == "half_pixel_symmetric":
        offset = before / 2 * (1 - after / (factor * before))
        return offset + (y + 0.5) / factor - 0.5
    raise RefusalError(f"coordinate_transformation_mode {coordinates!r} is not supported")


def _round(positions: Positions, rounding: str) -> Positions:
    if rounding == "floor":
        return np.asarray(np.floor(positions))
    if rounding == "ceil":
        return np.asarray(np.ceil(positions))
    if rounding == "round_prefer_floor":
        return np.asarray(np.ceil(positions - 0.5))
    if rounding == "round_prefer_ceil":
        return np.asarray(np.floor(positions + 0.5))
    raise RefusalError(f"nearest_mode {rounding!r} is not supported")


def _same(
    ours: Sequence[Positions], theirs: Sequence[Positions], pairs: Sequence[tuple[int, int, float]]
) -> bool:
    """Whether both read the same pixels; what lies outside is the pixel at the edge."""
    return all(
        np.allclose(np.clip(a, 0, before - 1), np.clip(b, 0, before - 1), rtol=0, atol=1e-6)
        for a, b, (before, _, _) in zip(ours, theirs, pairs, strict=True)
    )
