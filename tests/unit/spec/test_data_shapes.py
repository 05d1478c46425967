# ruff: noqa: E501 (messages stand here as the user reads them)
"""Shape rules of the pointwise, logical and data-moving ops, what they refuse, and which work along the batch."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops import OPS, LayerBase
from cnngen.spec.types import Shape

IMAGE = (2, 6, 9, 7)


def make(op: str, **fields: object) -> LayerBase:
    return OPS[op].model_validate({"name": "x", "op": op, **fields})


@pytest.mark.parametrize(
    ("op", "fields", "inputs", "shape"),
    [
        ("erf", {}, [(3,)], (3,)),
        ("cast", {"to": "int64"}, [IMAGE], IMAGE),
        ("prelu", {"shape": [9, 1]}, [IMAGE], IMAGE),
        ("add", {}, [IMAGE, (6, 1, 1), (2, 1, 1, 7)], IMAGE),
        ("mean", {}, [IMAGE], IMAGE),
        ("maximum", {"value": 0}, [IMAGE], IMAGE),
        ("less", {}, [(3, 1), (1, 4)], (3, 4)),
        ("where", {}, [(3, 1), (4,), (2, 1, 1)], (2, 3, 4)),
        ("pad", {"pads": [[0, 0], [1, 2], [-3, 0], [0, 1]]}, [IMAGE], (2, 9, 6, 8)),
        ("pad", {"padding": 2, "mode": "reflect"}, [IMAGE], (2, 6, 13, 11)),
        ("expand", {"shape": [4, 1]}, [(2, 1, 3)], (2, 4, 3)),
        ("expand", {"shape": [5, 1, 1]}, [(2, 3)], (5, 2, 3)),
        ("tile", {"repeats": [1, 2, 3]}, [(2, 3, 4)], (2, 6, 12)),
        (
            "slice",
            {"axes": [-1, 1], "starts": [None, -4], "ends": [None, 100], "steps": [-3, 2]},
            [IMAGE],
            (2, 2, 9, 3),
        ),
        ("gather", {"axis": 2, "indices": 4}, [IMAGE], (2, 6, 7)),
        ("gather", {"indices": [[0, 1, -1]]}, [IMAGE], (2, 1, 3, 9, 7)),
        ("gather", {"axis": 0, "indices": 0}, [(4,)], (1,)),
        ("gather", {"axis": -1, "indices_parameter": "i", "indices_shape": [2, 3]}, [IMAGE], (2, 6, 9, 2, 3)),
        ("flip", {"axes": [-1]}, [IMAGE], IMAGE),
        ("roll", {"axes": [2, 3], "shifts": [1, -1]}, [IMAGE], IMAGE),
        ("depth_to_space", {"block": 2}, [(1, 8, 3, 4)], (1, 2, 6, 8)),
        ("space_to_depth", {"block": 3}, [(1, 2, 6, 9)], (1, 18, 2, 3)),
        ("channel_shuffle", {"groups": 3}, [IMAGE], IMAGE),
        ("unfold2d", {"kernel": [2, 3], "stride": 2, "padding": 1}, [IMAGE], (2, 36, 5 * 4)),
        ("resize", {"scales": [1.5, 0.7]}, [(1, 2, 7, 10)], (1, 2, 10, 7)),
        ("resize", {"axes": [-1], "sizes": [3]}, [IMAGE], (2, 6, 9, 3)),
        ("grid_sample", {}, [IMAGE, (2, 4, 5, 2)], (2, 6, 4, 5)),
        ("fill", {"shape": [3, 4], "value": 1}, [(2,)], (2, 3, 4)),
        ("constant", {"shape": [3, 4], "parameter": "c"}, [()], (3, 4)),
    ],
)
def test_output_shape(op: str, fields: dict[str, Any], inputs: list[Shape], shape: Shape) -> None:
    assert make(op, **fields).output_shape(inputs) == shape


@pytest.mark.parametrize(
    ("op", "fields", "inputs", "message"),
    [
        ("prelu", {"shape": [2, 1]}, [(1, 3)], "the weight [2, 1] does not broadcast to [1, 3]"),
        ("prelu", {}, [(3,)], "needs channels in axis 1, got [3]; give shared or shape"),
        ("where", {}, [(3,), (4,), (1,)], "[3] and [4] do not broadcast: axis 0 has 3 and 4"),
        ("pad", {"pads": [[1, 1]]}, [(2, 3)], "pads has 1 entries, [before, after] for each axis of [2, 3]"),
        ("pad", {"pads": [[0, 0], [-1, -2]]}, [(2, 3)], "pads [-1, -2] leave nothing of axis 1, which has 3"),
        ("pad", {"pads": [[0, 0], [3, 0]], "mode": "reflect"}, [(2, 3)], "pads [3, 0] of axis 1: mode reflect allows at most 2 here"),
        ("pad", {"padding": 1}, [(2, 3)], "needs a 4-D input [N, C, H, W], got [2, 3]"),
        ("tile", {"repeats": [2]}, [(2, 3)], "repeats [2] is not one number an axis of [2, 3]"),
        ("slice", {"axes": [1], "starts": [3], "ends": [1]}, [IMAGE], "[3:1:1] takes nothing of axis 1, which has 6"),
        ("slice", {"axes": [1, -3], "starts": [0, 0], "ends": [1, 1]}, [IMAGE], "axes [1, -3] name an axis of [2, 6, 9, 7] twice"),
        ("gather", {"axis": 3, "indices": [0, 7]}, [IMAGE], "index 7 is not in axis 3, which has 7"),
        ("flip", {"axes": [4]}, [IMAGE], "axis 4 is not possible: [2, 6, 9, 7] has axes 0 to 3"),
        ("depth_to_space", {"block": 4}, [IMAGE], "6 channels do not make squares of 4x4"),
        ("space_to_depth", {"block": 2}, [IMAGE], "9x7 pixels cannot be split into squares of 2x2"),
        ("channel_shuffle", {"groups": 4}, [IMAGE], "6 channels cannot be split into 4 groups"),
        ("resize", {"scales": [2.0]}, [IMAGE], "has 1 scales for 2 axes"),
        ("resize", {"scales": [0.1, 0.1]}, [IMAGE], "leaves nothing of axis 2, which has 9"),
        ("grid_sample", {}, [IMAGE, (2, 4, 5, 3)], "needs x [N, C, H, W] and a grid [N, H', W', 2], got [2, 6, 9, 7] and [2, 4, 5, 3]"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit(op: str, fields: dict[str, Any], inputs: list[Shape], message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        make(op, **fields).output_shape(inputs)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("op", "fields", "message"),
    [
        ("celu", {"alpha": 0}, "Input should be greater than 0"),
        ("cast", {"to": "float64"}, "Input should be 'float32', 'float16'"),
        ("prelu", {"shared": True, "shape": [3]}, "give shared or shape, not both"),
        ("less", {"value": 1, "parameter": "c"}, "give value or parameter, not both"),
        ("add", {"value": float("nan")}, "expected a number or an infinity, got nan"),
        ("pad", {}, "give padding or pads, one of them"),
        ("pad", {"padding": 1, "mode": "edge", "value": 2}, "value needs mode: constant"),
        ("slice", {"axes": [1], "starts": [0, 1], "ends": [2]}, "give axes, starts, ends and steps one entry an axis"),
        ("slice", {"axes": [1], "starts": [0], "ends": [2], "steps": [0]}, "a step must not be 0"),
        ("gather", {}, "give indices or indices_parameter, one of them"),
        ("gather", {"indices": [[1], [2, 3]]}, "the lists of indices are empty, or their lengths differ"),
        ("gather", {"indices": [1.5]}, "expected whole numbers, in lists of equal lengths, got 1.5"),
        ("gather", {"indices_parameter": "i"}, "indices_parameter and indices_shape go together"),
        ("roll", {"axes": [1], "shifts": [1, 2]}, "give axes and shifts one entry an axis"),
        ("resize", {"scales": [2.0], "sizes": [3]}, "give scales or sizes, one of them"),
        ("resize", {"scales": [2.0], "axes": [2, 3]}, "give axes and scales (or sizes) one entry an axis"),
        ("resize", {"sizes": [3], "roi": [0, 1]}, "roi and coordinates: tf_crop_and_resize go together"),
    ],
)  # fmt: skip
def test_fields_that_are_refused(op: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make(op, **fields)
    assert message in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    ("op", "fields", "inputs", "mixes"),
    [
        ("relu", {}, [IMAGE], False),
        ("add", {}, [IMAGE, IMAGE], False),
        ("add", {}, [IMAGE, (6, 1, 1)], True),  # the second's axis 0, its batch, meets channels
        ("add", {}, [(1, 6), (5, 6)], True),
        ("add", {"parameter": "c"}, [IMAGE], False),
        ("add", {"parameter": "c", "parameter_shape": [2, 1, 1, 1]}, [IMAGE], True),
        ("add", {"parameter": "c", "parameter_shape": [5, 1, 1, 1]}, [(1, 6, 2, 2)], True),
        ("prelu", {"shape": [2, 1, 1, 1]}, [IMAGE], True),
        ("where", {}, [IMAGE, IMAGE, (7,)], True),
        ("concat", {"axis": 0}, [IMAGE, IMAGE], True),
        ("concat", {"axis": -4}, [IMAGE, IMAGE], True),
        ("concat", {}, [IMAGE, IMAGE], False),
        ("pad", {"pads": [[0, 1], [0, 0]]}, [(2, 3)], True),
        ("pad", {"pads": [[0, 0], [0, 1]]}, [(2, 3)], False),
        ("flatten", {"axis": 0}, [IMAGE], True),
        ("expand", {"shape": [1, 6, 9, 7]}, [IMAGE], False),
        ("expand", {"shape": [5, 2, 6, 9, 7]}, [IMAGE], True),
        ("tile", {"repeats": [2, 1]}, [(2, 3)], True),
        ("slice", {"axes": [0], "starts": [0], "ends": [None]}, [IMAGE], False),
        ("slice", {"axes": [0], "starts": [1], "ends": [None]}, [IMAGE], True),
        ("gather", {"axis": 0, "indices": [0, 1]}, [IMAGE], True),
        ("flip", {"axes": [0]}, [IMAGE], True),
        ("roll", {"axes": [1], "shifts": [2]}, [IMAGE], False),
        ("resize", {"axes": [0], "sizes": [4]}, [IMAGE], True),
    ],
)
def test_layers_that_work_along_the_batch(
    op: str, fields: dict[str, Any], inputs: list[Shape], mixes: bool
) -> None:
    layer = make(op, **fields)
    layer.output_shape(inputs)
    assert layer.mixes_items(inputs) is mixes


def test_parameters() -> None:
    assert make("prelu", shape=[9, 1]).parameters([IMAGE]) == {"weight": (9, 1)}
    assert make("constant", shape=[3], parameter="c").parameters([(2,)]) == {"parameter": (3,)}
    gather = make("gather", indices_parameter="i", indices_shape=[2])
    assert gather.parameters([IMAGE]) == {"indices": (2,)}
    assert gather.weight_name("indices") == "i"
    assert make("constant", shape=[3], parameter="c").weight_name("parameter") == "c"
