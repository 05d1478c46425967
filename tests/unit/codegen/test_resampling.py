"""resize and grid_sample: their lowering against their definition, and that against ONNX's."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest

from cnngen.codegen import expr as ex
from cnngen.codegen.graph import Array
from cnngen.codegen.lower import lower
from cnngen.spec import NetworkSpec

from .single_layer import check, data
from .test_reference import assert_same, theirs

COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def check_resize(
    fields: dict[str, Any], attributes: dict[str, Any], x: Array, *, roi: Array | None = None
) -> None:
    sizes = np.array(fields["sizes"], np.int64) if "sizes" in fields else None
    scales = np.array(fields["scales"], np.float32) if "scales" in fields else None
    attributes = {**attributes, "axes": [axis % x.ndim for axis in fields["axes"]]}
    assert_same(check("resize", fields, x), theirs("Resize", attributes, x, roi, scales, sizes))


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("seed", range(5))
def test_resize(coordinates: str, seed: int) -> None:
    rng = random.Random(f"{coordinates}{seed}")  # noqa: S311 (a seed that repeats)
    x = data(2, 3, 7, 5)
    axes = rng.choice(([2, 3], [3], [2], [-1, -2]))
    if rng.random() < 0.5:
        target: dict[str, Any] = {"sizes": [rng.choice((2, 3, 7, 10, 14, 15)) for _ in axes]}
    else:
        target = {
            "scales": [float(np.float32(rng.choice((0.5, 0.6, 0.75, 1.0, 1.6, 2.0, 3.0)))) for _ in axes]
        }
    base = {"axes": axes, "coordinates": coordinates, **target}
    given = {"coordinate_transformation_mode": coordinates}
    for nearest in NEAREST:
        fields = {**base, "mode": "nearest", "nearest": nearest}
        check_resize(fields, {**given, "mode": "nearest", "nearest_mode": nearest}, x)
    for mode, exclude, antialias in itertools.product(("linear", "cubic"), (False, True), (False, True)):
        fields = {**base, "mode": mode, "exclude_outside": exclude, "antialias": antialias}
        attributes = {"mode": mode, "exclude_outside": int(exclude), "antialias": int(antialias)}
        if mode == "cubic":
            fields["cubic_coeff"] = attributes["cubic_coeff_a"] = -0.5
        check_resize(fields, {**given, **attributes}, x)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize_of_a_region(mode: str) -> None:
    x = data(2, 3, 6, 5)
    for starts, ends in (([0.1, 0.2], [0.9, 0.6]), ([-0.3, 0.4], [1.2, 0.8]), ([0.8, 0.0], [0.2, 1.0])):
        fields = {"axes": [2, 3], "sizes": [4, 7], "mode": mode, "coordinates": "tf_crop_and_resize"}
        fields |= {"roi": [*starts, *ends], "extrapolation": 10.0}
        attributes = {
            "mode": mode,
            "coordinate_transformation_mode": "tf_crop_and_resize",
            "extrapolation_value": 10.0,
        }
        check_resize(fields, attributes, x, roi=np.array([*starts, *ends], np.float32))


def test_a_resize_without_a_formula_shrinks_first() -> None:
    x = data(1, 2, 40, 6)
    fields = {"axes": [2, 3], "sizes": [7, 13], "mode": "cubic", "antialias": True}
    check_resize(fields, {"mode": "cubic", "antialias": 1}, x)


# --- grid_sample -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_grid_sample(mode: str, padding: str, align_corners: bool) -> None:
    x = data(2, 3, 4, 5)
    # Beyond the border ONNX's bicubic moves the place, PyTorch's its taps: these are PyTorch's.
    grid = (0.4 if (mode, padding) == ("bicubic", "border") else 1.5) * data(2, 3, 6, 2, seed=1)
    grid = np.clip(grid, -0.9, 0.9) if (mode, padding) == ("bicubic", "border") else grid
    fields = {"mode": mode, "padding": padding, "align_corners": align_corners}
    onnx_mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    attributes = {"mode": onnx_mode, "padding_mode": padding, "align_corners": int(align_corners)}
    got, want = check("grid_sample", fields, x, grid), theirs("GridSample", attributes, x, grid)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding", ["border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_a_grid_that_leads_nowhere_reads_the_image_all_the_same(mode: str, padding: str) -> None:
    layer = {"name": "y", "op": "grid_sample", "inputs": ["x", "grid"], "mode": mode, "padding": padding}
    inputs = {"x": {"shape": (1, 1, 3, 4)}, "grid": {"shape": (1, 2, 3, 2)}}
    spec = NetworkSpec.model_validate({"name": "net", "inputs": inputs, "layers": [layer]})
    node = lower(spec, {}, 1).producers["y"]
    far = np.array([np.nan, np.inf, -np.inf, 1e30, -1e9, 1e9, -1.5, 1.5, 0, 0, 1, -1]).reshape(1, 2, 3, 2)
    reads = [load.index for load in ex.loads(node.epilogue) if node.inputs[load.source] == "x"]
    assert len(reads) == {"bilinear": 4, "nearest": 1, "bicubic": 16}[mode]
    for index in reads:
        for place, extent in zip(index, (1, 1, 3, 4), strict=True):
            found = ex.evaluate(place, node.value.shape, [np.zeros((1, 1, 3, 4)), far])
            assert found.min() >= 0
            assert found.max() < extent
