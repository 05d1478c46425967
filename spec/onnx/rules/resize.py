"""Resize and Upsample: `upsample` where the pixels read are those of its two modes, else `resize`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnngen.spec.importing.builder import LARGEST
from cnngen.spec.importing.draft import Draft, RefusalError, short
from cnngen.spec.onnx.node import Node, axes_within
from cnngen.spec.onnx.rules.rule import Rule

Positions = npt.NDArray[np.float64]
_MOST_COMPARED = 1 << 20


@dataclass(frozen=True)
class _Axis:
    """An axis that is resized: its number, sizes, and the factor between them as ONNX has it."""

    number: int
    before: int
    after: int
    factor: float


def resize(node: Node) -> Draft:
    """Resize (opset 10 and newer)."""
    x = node.floats()
    first = 1 if node.opset < 11 else 2
    scales = node.constant(first, "scales")
    sizes = node.constant(3, "sizes") if node.opset >= 11 else None
    axes = axes_within(node.integers("axes") or range(len(x.shape)), len(x.shape))
    if sizes is not None and sizes.size:
        pairs = _sized(node, x, axes, [int(size) for size in sizes.reshape(-1)])
        given = True
    elif scales is not None and scales.size:
        pairs = _scaled(x, axes, [float(scale) for scale in scales.reshape(-1)])
        given = False
    else:
        raise RefusalError("neither scales nor sizes are given")
    default = "asymmetric" if node.opset < 11 else "half_pixel"
    coordinates = node.text("coordinate_transformation_mode", default)
    rounding = node.text("nearest_mode", "round_prefer_floor" if node.opset >= 11 else "floor")
    if coordinates == "tf_crop_and_resize":
        return _crop(node, x, axes, pairs, given)
    if node.integer("antialias", 0) == 0 and node.text("mode", "nearest") != "cubic":
        layer = _upsample(node, x, pairs, coordinates, rounding)
        if layer is not None:
            return layer
    changed = [axis for axis in pairs if axis.after != axis.before or axis.factor != 1.0]
    return _resize(node, x, changed, given, coordinates, rounding)


def upsample(node: Node) -> Draft:
    """Upsample, by an attribute (opset 7) or an input."""
    x = node.floats()
    given = node.reals("scales")
    if given is None:
        scales = node.constant(1, "scales")
        given = [] if scales is None else [float(factor) for factor in scales.reshape(-1)]
    pairs = _scaled(x, list(range(len(x.shape))), given)
    layer = _upsample(node, x, pairs, "asymmetric", "floor")
    changed = [axis for axis in pairs if axis.factor != 1.0]
    return layer or _resize(node, x, changed, False, "asymmetric", "floor")


def _scaled(x: Draft, axes: Sequence[int], scales: Sequence[float]) -> list[_Axis]:
    if len(scales) != len(axes) or not all(0 < scale < LARGEST for scale in scales):
        raise RefusalError(f"its scales {list(scales)} do not fit its input {list(x.shape)}")
    pairs = []
    for axis, factor in zip(axes, scales, strict=True):
        pairs.append(_Axis(axis, x.shape[axis], math.floor(x.shape[axis] * factor), factor))
    return _possible(pairs)


def _sized(node: Node, x: Draft, axes: Sequence[int], sizes: Sequence[int]) -> list[_Axis]:
    """The axes by their sizes, which keep_aspect_ratio_policy may change."""
    if len(sizes) != len(axes):
        raise RefusalError(f"its sizes {list(sizes)} do not fit its input {list(x.shape)}")
    policy = node.text("keep_aspect_ratio_policy", "stretch")
    factors = [size / x.shape[axis] for axis, size in zip(axes, sizes, strict=True)]
    if policy in ("not_larger", "not_smaller"):
        factor = min(factors) if policy == "not_larger" else max(factors)
        # halves upwards
        sizes = [math.floor(x.shape[axis] * factor + 0.5) for axis in axes]
        factors = [factor] * len(axes)
    elif policy != "stretch":
        raise RefusalError(f"keep_aspect_ratio_policy {policy!r} is not known")
    pairs = zip(axes, sizes, factors, strict=True)
    return _possible([_Axis(axis, x.shape[axis], size, factor) for axis, size, factor in pairs])


def _possible(pairs: list[_Axis]) -> list[_Axis]:
    wrong = [axis.after for axis in pairs if not 1 <= axis.after <= LARGEST]
    if wrong:
        raise RefusalError(f"a size of {wrong[0]} is not possible")
    return pairs


def _resize(
    node: Node, x: Draft, pairs: Sequence[_Axis], sized: bool, coordinates: str, rounding: str
) -> Draft:
    """The spec's general form, with the fields that are not its defaults."""
    if not pairs:
        return x
    exact = all(axis.factor == axis.after / axis.before for axis in pairs)
    by_size = sized if exact else False
    if sized and not exact and any(math.floor(axis.before * axis.factor) != axis.after for axis in pairs):
        raise RefusalError("sizes that keep the aspect ratio are supported only where they are not rounded")
    mode = node.text("mode", "nearest")
    fields: dict[str, object] = {"axes": [axis.number for axis in pairs]}
    if fields["axes"] == list(range(2, len(x.shape))):
        del fields["axes"]
    if by_size:
        fields["sizes"] = [axis.after for axis in pairs]
    else:
        fields["scales"] = [axis.factor if sized else short(axis.factor) for axis in pairs]
    fields["mode"] = {"bilinear": "linear"}.get(mode, mode)
    fields["coordinates"] = coordinates
    if mode == "nearest":
        fields["nearest"] = rounding
    if mode == "cubic":
        fields["cubic_coeff"] = node.real("cubic_coeff_a", -0.75)
    for name in ("exclude_outside", "antialias"):
        if node.flag(name):
            fields[name] = True
    return node.draft("resize", [x], fields)


def _crop(node: Node, x: Draft, axes: Sequence[int], pairs: Sequence[_Axis], sized: bool) -> Draft:
    """tf_crop_and_resize: the region that `roi` cuts out, along every axis where it is not the whole."""
    roi = node.constant(1, "the region")
    ends = [float(number) for number in roi.reshape(-1)] if roi is not None else []
    if len(ends) != 2 * len(axes) or not np.all(np.isfinite(ends)):
        raise RefusalError(f"its region {ends} does not fit {len(axes)} axes")
    regions = list(zip(ends[: len(axes)], ends[len(axes) :], strict=True))
    kept = [(axis, region) for axis, region in zip(pairs, regions, strict=True)
            if axis.before != axis.after or region != (0.0, 1.0)]  # fmt: skip
    if not kept:
        return x
    value = node.real("extrapolation_value", 0.0)
    layer = _resize(
        node,
        x,
        [axis for axis, _ in kept],
        sized,
        "half_pixel",
        node.text("nearest_mode", "round_prefer_floor"),
    )
    layer.fields["coordinates"] = "tf_crop_and_resize"
    layer.fields["roi"] = [start for _, (start, _) in kept] + [end for _, (_, end) in kept]
    if value:
        layer.fields["extrapolation"] = value
    return layer


def _upsample(node: Node, x: Draft, pairs: Sequence[_Axis], coordinates: str, rounding: str) -> Draft | None:
    """An `upsample` layer where that reads the same pixels."""
    changed = [axis for axis in pairs if axis.before != axis.after]
    if not changed and all(axis.factor == 1.0 for axis in pairs):
        return x
    mode = node.text("mode", "nearest")
    if (
        len(x.shape) != 4
        or any(axis.number < 2 for axis in changed)
        or max(axis.after for axis in pairs) > _MOST_COMPARED
    ):
        return None
    both = {axis.number: axis for axis in pairs}
    h, w = (both.get(number, _Axis(number, x.shape[number], x.shape[number], 1.0)) for number in (2, 3))
    fields: dict[str, object] = {"size": [h.after, w.after]}
    if h.after % h.before == 0 and w.after % w.before == 0:
        fields = {"scale": [h.after // h.before, w.after // w.before]}
    theirs = [_positions(coordinates, axis) for axis in (h, w)]
    if mode == "nearest":
        ours = [np.floor(np.arange(axis.after) * axis.before / axis.after) for axis in (h, w)]
        rounded = [_round(positions, rounding) for positions in theirs]
        return node.draft("upsample", [x], fields) if _same(ours, rounded, (h, w)) else None
    for align in (False, True):
        name = "align_corners" if align else "half_pixel"
        ours = [
            _positions(name, _Axis(axis.number, axis.before, axis.after, axis.after / axis.before))
            for axis in (h, w)
        ]
        if mode in ("linear", "bilinear") and _same(ours, theirs, (h, w)):
            fields |= {"mode": "bilinear"} | ({"align_corners": True} if align else {})
            return node.draft("upsample", [x], fields)
    return None


def _positions(coordinates: str, axis: _Axis) -> Positions:
    """Where each output pixel lies between the input's, in ONNX's words."""
    y, before, after, factor = np.arange(axis.after, dtype=np.float64), axis.before, axis.after, axis.factor
    if coordinates == "align_corners":
        # a factor that does not give a whole size is read in two ways; only where both agree are they the same
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
    if coordinates == "tf_half_pixel_for_nn":
        return (y + 0.5) / factor
    raise RefusalError(f"coordinate_transformation_mode {coordinates!r} is not known")


def _round(positions: Positions, rounding: str) -> Positions:
    if rounding == "floor":
        return np.asarray(np.floor(positions))
    if rounding == "ceil":
        return np.asarray(np.ceil(positions))
    if rounding == "round_prefer_floor":
        return np.asarray(np.ceil(positions - 0.5))
    if rounding == "round_prefer_ceil":
        return np.asarray(np.floor(positions + 0.5))
    raise RefusalError(f"nearest_mode {rounding!r} is not known")


def _same(ours: Sequence[Positions], theirs: Sequence[Positions], axes: Sequence[_Axis]) -> bool:
    """Whether both read the same pixels; what lies outside is the pixel at the edge."""
    return all(
        np.allclose(np.clip(a, 0, axis.before - 1), np.clip(b, 0, axis.before - 1), rtol=0, atol=1e-6)
        for a, b, axis in zip(ours, theirs, axes, strict=True)
    )


RULES: dict[str, Rule] = {"Resize": resize, "Upsample": upsample}
