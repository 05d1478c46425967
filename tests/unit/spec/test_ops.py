# ruff: noqa: E501 (messages stand here as the user reads them)
"""Shape rules and parameters of every op, and what an op refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from cnngen.spec.errors import ShapeError
from cnngen.spec.ops import OPS, Conv2d, LayerBase
from cnngen.spec.ops.window import windows
from cnngen.spec.types import Shape

IMAGE = (2, 6, 9, 7)
LINE = (2, 6, 7)


def make(op: str, **fields: object) -> LayerBase:
    return OPS[op].model_validate({"name": "x", "op": op, **fields})


@pytest.mark.parametrize(
    ("op", "fields", "inputs", "shape"),
    [
        ("conv2d", {"out_channels": 4, "kernel": 3}, [IMAGE], (2, 4, 7, 5)),
        (
            "conv2d",
            {"out_channels": 4, "kernel": [3, 1], "stride": 2, "padding": [1, 0]},
            [IMAGE],
            (2, 4, 5, 4),
        ),
        ("conv2d", {"out_channels": 4, "kernel": 3, "padding": [0, 1, 2, 3]}, [IMAGE], (2, 4, 9, 9)),
        ("conv2d", {"out_channels": 4, "kernel": 3, "stride": 2, "padding": "same"}, [IMAGE], (2, 4, 5, 4)),
        ("conv2d", {"out_channels": 4, "kernel": 3, "dilation": 2}, [IMAGE], (2, 4, 5, 3)),
        ("linear", {"out_features": 5}, [(2, 7)], (2, 5)),
        ("linear", {"out_features": 5}, [IMAGE], (2, 6, 9, 5)),
        ("max_pool2d", {"kernel": 2}, [IMAGE], (2, 6, 4, 3)),
        ("max_pool2d", {"kernel": 2, "ceil_mode": True}, [IMAGE], (2, 6, 5, 4)),
        ("max_pool2d", {"kernel": 3, "stride": 2, "padding": 1}, [IMAGE], (2, 6, 5, 4)),
        ("max_pool2d", {"kernel": 2, "stride": 3, "dilation": 2}, [IMAGE], (2, 6, 3, 2)),
        ("avg_pool2d", {"kernel": 3, "stride": 1, "padding": "same"}, [IMAGE], IMAGE),
        ("global_avg_pool", {}, [IMAGE], (2, 6, 1, 1)),
        ("global_avg_pool", {"keepdims": False}, [IMAGE], (2, 6)),
        ("batch_norm", {}, [(2, 6)], (2, 6)),
        ("prelu", {}, [IMAGE], IMAGE),
        ("relu", {}, [(3,)], (3,)),
        ("add", {}, [IMAGE, (6, 1, 1)], IMAGE),
        ("mul", {}, [IMAGE, (2, 6, 1, 1)], IMAGE),
        ("sub", {"value": 1, "reverse": True}, [IMAGE], IMAGE),
        ("div", {"parameter": "c"}, [IMAGE], IMAGE),
        ("add", {"parameter": "c", "parameter_shape": [9, 1]}, [IMAGE], IMAGE),
        ("concat", {}, [IMAGE, (2, 1, 9, 7), IMAGE], (2, 13, 9, 7)),
        ("concat", {"axis": -1}, [IMAGE, IMAGE], (2, 6, 9, 14)),
        ("upsample", {"scale": [2, 3]}, [IMAGE], (2, 6, 18, 21)),
        ("upsample", {"size": 4, "mode": "bilinear", "align_corners": True}, [IMAGE], (2, 6, 4, 4)),
        ("pad", {"padding": [1, 2, 3, 4]}, [IMAGE], (2, 6, 13, 13)),
        ("flatten", {}, [IMAGE], (2, 378)),
        ("flatten", {"axis": -2}, [IMAGE], (2, 6, 63)),
        ("reshape", {"shape": [0, 2, -1, 7]}, [IMAGE], (2, 2, 27, 7)),
        ("transpose", {"axes": [0, 2, 3, 1]}, [IMAGE], (2, 9, 7, 6)),
        ("softmax", {}, [(2, 5)], (2, 5)),
        ("softmax", {"axis": 0}, [(5,)], (5,)),
        ("log_softmax", {"axis": 1}, [IMAGE], IMAGE),
        ("dfl", {"bins": 3}, [(2, 6, 9)], (2, 2, 9)),
        ("conv1d", {"out_channels": 4, "kernel": 3, "stride": 2, "padding": [1, 2]}, [LINE], (2, 4, 4)),
        ("conv1d", {"out_channels": 4, "kernel": 3, "stride": 2, "padding": "same"}, [LINE], (2, 4, 4)),
        (
            "conv_transpose1d",
            {"out_channels": 4, "kernel": 3, "stride": 2, "dilation": 2},
            [LINE],
            (2, 4, 17),
        ),
        ("conv_transpose2d", {"out_channels": 4, "kernel": 2, "stride": 2}, [IMAGE], (2, 4, 18, 14)),
        (
            "conv_transpose2d",
            {
                "out_channels": 4,
                "kernel": 3,
                "stride": [2, 3],
                "padding": [1, 0, 0, 1],
                "output_padding": [1, 0],
            },
            [IMAGE],
            (2, 4, 19, 20),
        ),
        ("max_pool1d", {"kernel": 3}, [LINE], (2, 6, 2)),
        ("max_pool1d_indices", {"kernel": 3, "stride": 1, "padding": 1}, [LINE], LINE),
        ("max_pool2d_indices", {"kernel": 2}, [IMAGE], (2, 6, 4, 3)),
        ("avg_pool2d", {"kernel": 2, "stride": 1, "dilation": 2}, [IMAGE], (2, 6, 7, 5)),
        ("lp_pool2d", {"kernel": 2, "p": 1.5}, [IMAGE], (2, 6, 4, 3)),
        ("lp_pool1d", {"kernel": 2, "ceil_mode": True}, [LINE], (2, 6, 4)),
        ("max_unpool1d", {"kernel": 2}, [LINE, LINE], (2, 6, 14)),
        ("max_unpool2d", {"kernel": 2, "stride": 1, "padding": [0, 1]}, [IMAGE, IMAGE], (2, 6, 10, 6)),
        ("max_unpool2d", {"kernel": 2, "output_size": [19, 15]}, [IMAGE, IMAGE], (2, 6, 19, 15)),
        ("adaptive_avg_pool1d", {"output_size": 3}, [LINE], (2, 6, 3)),
        ("adaptive_max_pool2d", {"output_size": [1, 12]}, [IMAGE], (2, 6, 1, 12)),
        ("global_avg_pool", {}, [LINE], (2, 6, 1)),
        ("global_max_pool", {"keepdims": False}, [(2, 6, 3, 4, 5)], (2, 6)),
        ("global_lp_pool", {"p": 3}, [IMAGE], (2, 6, 1, 1)),
        ("instance_norm", {}, [LINE], LINE),
        ("group_norm", {"groups": 3}, [(2, 6)], (2, 6)),
        ("layer_norm", {"axis": 0}, [IMAGE], IMAGE),
        ("rms_norm", {}, [IMAGE], IMAGE),
        ("lrn", {"size": 5}, [IMAGE], IMAGE),
        ("lp_norm", {"p": 1}, [IMAGE], IMAGE),
        ("matmul", {}, [(2, 3, 4), (2, 4, 5)], (2, 3, 5)),
        ("matmul", {}, [(2, 1, 3, 4), (6, 4, 5)], (2, 6, 3, 5)),
        ("matmul", {"transpose_a": True, "transpose_b": True}, [(4, 3), (7, 5, 4)], (7, 3, 5)),
        ("matmul", {}, [(4,), (7, 4, 5)], (7, 5)),
        ("matmul", {}, [(7, 5, 4), (4,)], (7, 5)),
        ("matmul", {}, [(4,), (4,)], (1,)),
        ("reduce_mean", {}, [IMAGE], (2, 1, 1, 1)),
        ("reduce_sum", {"axes": [-1, 1], "keepdims": False}, [IMAGE], (2, 9)),
        ("reduce_log_sum_exp", {"axes": [0], "keepdims": False}, [(5,)], (1,)),
        ("argmax", {"axis": 1}, [IMAGE], (2, 1, 9, 7)),
        ("argmin", {"axis": -1, "keepdims": False, "last": True}, [IMAGE], (2, 6, 9)),
        ("zeros", {"shape": [3, 4]}, [(2,)], (2, 3, 4)),
    ],
)
def test_output_shape(op: str, fields: dict[str, Any], inputs: list[Shape], shape: Shape) -> None:
    assert make(op, **fields).output_shape(inputs) == shape


@pytest.mark.parametrize(
    ("op", "fields", "inputs", "message"),
    [
        ("conv2d", {"out_channels": 4, "kernel": 3}, [(2, 6)], "needs a 4-D input [N, C, H, W], got [2, 6]"),
        ("conv2d", {"out_channels": 4, "kernel": 3, "groups": 4}, [IMAGE], "6 input channels cannot be split into 4 groups"),
        ("conv2d", {"out_channels": 4, "kernel": 3, "groups": 3}, [IMAGE], "4 out_channels cannot be split into 3 groups"),
        ("conv2d", {"out_channels": 4, "kernel": 5, "dilation": 2, "padding": [1, 0]}, [IMAGE],
         "a 9x9 window does not fit into the padded input: 11x7, 9x7 without padding"),
        ("max_pool2d", {"kernel": 2, "padding": 2}, [IMAGE], "padding 2 at the top is not less than the window's 2"),
        ("add", {}, [IMAGE, (2, 3, 9, 7)], "[2, 6, 9, 7] and [2, 3, 9, 7] do not broadcast: axis 1 has 6 and 3"),
        ("concat", {}, [IMAGE, (2, 6)], "cannot join [2, 6, 9, 7] and [2, 6]: they differ in rank"),
        ("softmax", {"axis": 4}, [IMAGE], "axis 4 is not possible: [2, 6, 9, 7] has axes 0 to 3"),
        ("conv1d", {"out_channels": 4, "kernel": 3}, [IMAGE], "needs a 3-D input [N, C, L], got [2, 6, 9, 7]"),
        ("conv1d", {"out_channels": 4, "kernel": 5, "dilation": 2, "padding": [1, 0]}, [LINE],
         "a 9 window does not fit into the padded input: 8, 7 without padding"),
        ("conv_transpose2d", {"out_channels": 4, "kernel": 3, "padding": 5}, [IMAGE],
         "padding [5, 5, 5, 5] leaves nothing of the result, [11, 9] without it"),
        ("conv_transpose2d", {"out_channels": 4, "kernel": 3, "groups": 4}, [IMAGE],
         "6 input channels cannot be split into 4 groups"),
        ("max_pool1d", {"kernel": 2, "padding": [0, 2]}, [LINE], "padding 2 at the right is not less than the window's 2"),
        ("max_unpool2d", {"kernel": 2}, [IMAGE, (2, 6, 9, 6)],
         "needs an index for each element, got [2, 6, 9, 7] and indices [2, 6, 9, 6]"),
        ("max_unpool2d", {"kernel": 2, "padding": 7}, [IMAGE, IMAGE], "padding [7, 7, 7, 7] leaves nothing of the result"),
        ("global_max_pool", {}, [(2, 6)], "needs an input [N, C, ...] of at least three axes, got [2, 6]"),
        ("instance_norm", {}, [(2, 6)], "needs an input [N, C, ...] of at least three axes, got [2, 6]"),
        ("group_norm", {"groups": 4}, [IMAGE], "6 channels cannot be split into 4 groups"),
        ("lrn", {"size": 4}, [(6,)], "needs channels in axis 1, got [6]"),
        ("matmul", {}, [(2, 3, 4), (2, 5, 6)], "cannot multiply [2, 3, 4] by [2, 5, 6]: 4 columns meet 5 rows"),
        ("matmul", {}, [(2, 3, 4), (3, 4, 6)], "[2] and [3] do not broadcast: axis 0 has 2 and 3"),
        ("reduce_max", {"axes": [1, -3]}, [IMAGE], "axes [1, -3] name an axis of [2, 6, 9, 7] twice"),
        ("reduce_max", {"axes": [4]}, [IMAGE], "axis 4 is not possible: [2, 6, 9, 7] has axes 0 to 3"),
        ("reduce_max", {}, [(5,)], "[5] has no axis but the first: give axes"),
        ("dfl", {"bins": 4}, [(2, 6, 9)], "6 channels cannot be split into distributions of 4 bins"),
        ("dfl", {"bins": 2}, [IMAGE], "needs a 3-D input [N, sides * bins, anchors], got [2, 6, 9, 7]"),
        ("reshape", {"shape": [0, 5, -1]}, [IMAGE], "[2, 6, 9, 7] has 756 elements, which do not fill [0, 5, -1]"),
        ("reshape", {"shape": [-1, -1]}, [IMAGE], "only one axis of [-1, -1] can be -1"),
        ("reshape", {"shape": [-1, 0, 0]}, [(2, 6)],
         "axis 2 of [-1, 0, 0] is 0 (copy), but [2, 6] has no such axis"),
        ("transpose", {"axes": [0, 2, 1]}, [IMAGE], "axes [0, 2, 1] do not name each axis of [2, 6, 9, 7] once"),
        ("linear", {"out_features": 3}, [(3,)], "needs an input of at least two axes, got [3]"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit(op: str, fields: dict[str, Any], inputs: list[Shape], message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        make(op, **fields).output_shape(inputs)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("op", "fields", "parameters"),
    [
        (
            "conv2d",
            {"out_channels": 4, "kernel": [3, 5], "groups": 2},
            {"weight": (4, 3, 3, 5), "bias": (4,)},
        ),
        ("conv2d", {"out_channels": 4, "kernel": 1, "bias": False}, {"weight": (4, 6, 1, 1)}),
        ("linear", {"out_features": 4}, {"weight": (4, 7), "bias": (4,)}),
        ("batch_norm", {}, dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (6,))),
        ("batch_norm", {"affine": False}, dict.fromkeys(("running_mean", "running_var"), (6,))),
        ("prelu", {}, {"weight": (6,)}),
        ("prelu", {"shared": True}, {"weight": (1,)}),
        ("mul", {"parameter": "gamma"}, {"parameter": (6, 1, 1)}),
        ("mul", {"value": 2}, {}),
        ("relu", {}, {}),
        (
            "conv_transpose2d",
            {"out_channels": 4, "kernel": [3, 5], "groups": 2},
            {"weight": (6, 2, 3, 5), "bias": (4,)},
        ),
        ("instance_norm", {}, {}),
        ("instance_norm", {"affine": True}, {"weight": (6,), "bias": (6,)}),
        ("group_norm", {"groups": 2}, {"weight": (6,), "bias": (6,)}),
        ("layer_norm", {"axis": -2}, {"weight": (9, 7), "bias": (9, 7)}),
        ("layer_norm", {"bias": False}, {"weight": (7,)}),
        ("rms_norm", {}, {"weight": (7,)}),
        ("rms_norm", {"affine": False}, {}),
    ],
)
def test_parameters(op: str, fields: dict[str, Any], parameters: dict[str, Shape]) -> None:
    assert make(op, **fields).parameters([IMAGE]) == parameters


@pytest.mark.parametrize(
    ("op", "fields", "inputs", "mixes"),
    [
        ("softmax", {"axis": -4}, [IMAGE], True),
        ("softmax", {}, [IMAGE], False),
        ("layer_norm", {"axis": 0}, [IMAGE], True),
        ("reduce_sum", {"axes": [0, 2]}, [IMAGE], True),
        ("reduce_sum", {}, [IMAGE], False),
        ("argmax", {"axis": 0}, [IMAGE], True),
        ("matmul", {}, [(2, 3), (3, 4)], False),
        ("matmul", {"transpose_a": True}, [(3, 2), (3, 4)], True),
        ("matmul", {}, [(3,), (3, 4)], True),
        ("matmul", {}, [(3,), (2, 3, 4)], False),
        ("conv2d", {"out_channels": 1, "kernel": 1}, [IMAGE], False),
    ],
)
def test_what_works_along_the_batch(
    op: str, fields: dict[str, Any], inputs: list[Shape], mixes: bool
) -> None:
    assert make(op, **fields).mixes_items(inputs) == mixes


def test_names_of_weights() -> None:
    plain = make("conv2d", out_channels=4, kernel=3)
    named = make("conv2d", out_channels=4, kernel=3, weight="shared.w", bias="b")
    assert [plain.weight_name(role) for role in ("weight", "bias")] == ["x.weight", "x.bias"]
    assert [named.weight_name(role) for role in ("weight", "bias")] == ["shared.w", "b"]
    assert make("mul", parameter="gamma").weight_name("parameter") == "gamma"
    assert make("prelu").weight_name("weight") == "x.weight"


def test_same_padding_is_tensorflows() -> None:
    def pads(**fields: object) -> tuple[int, int, int, int]:
        layer = make("conv2d", out_channels=1, **fields)
        assert isinstance(layer, Conv2d)
        return layer.pads((1, 1, 224, 7))

    assert pads(kernel=3, stride=2, padding="same") == (0, 1, 1, 1)
    assert pads(kernel=3, stride=2, padding="same_lower") == (1, 1, 0, 1)
    assert pads(kernel=[1, 4], padding="same") == (0, 1, 0, 2)
    assert pads(kernel=1, stride=3, padding="same") == (0, 0, 0, 0)


@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 4), st.integers(0, 2), st.integers(0, 2))
def test_ceil_windows_begin_inside(size: int, kernel: int, stride: int, before: int, after: int) -> None:
    assume(max(before, after) < kernel)  # as the pools demand
    floor, ceil = (windows(size, kernel, stride, 1, before, after, mode) for mode in (False, True))
    assert floor <= ceil <= floor + 1
    if ceil >= 1:
        assert (ceil - 1) * stride < size + before


@pytest.mark.parametrize(
    ("op", "fields", "message"),
    [
        (
            "conv2d",
            {"out_channels": 4, "kernel": [1, 2, 3]},
            "expected a number or [height, width], got [1, 2, 3]",
        ),
        ("conv2d", {"out_channels": 4, "kernel": True}, "expected a number or [height, width], got True"),
        ("conv2d", {"out_channels": 4, "kernel": 3, "padding": "valid"}, "got 'valid'"),
        ("conv2d", {"out_channels": 4, "kernel": 3, "padding": [1, 2, 3]}, "got [1, 2, 3]"),
        ("pad", {"padding": "same"}, "expected a number, [height, width] or [top, left, bottom, right]"),
        (
            "conv1d",
            {"out_channels": 4, "kernel": 3, "padding": [1, 2, 3]},
            'expected a number, "same", "same_lower" or [left, right], none negative, got [1, 2, 3]',
        ),
        (
            "conv_transpose1d",
            {"out_channels": 4, "kernel": 3, "padding": "same"},
            "expected a number or [left, right], none negative, got 'same'",
        ),
        ("clip", {"min": 2, "max": 1}, "min must not be above max, got 2.0 and 1.0"),
        ("upsample", {}, "give scale or size, one of them"),
        ("upsample", {"scale": 2, "size": 4}, "give scale or size, one of them"),
        ("upsample", {"scale": 2, "align_corners": True}, "align_corners needs mode: bilinear"),
        ("add", {"value": 1, "parameter": "c"}, "give value or parameter, not both"),
        ("add", {"parameter_shape": [1]}, "parameter_shape needs parameter, the name of the constant tensor"),
        ("relu", {"input": "a", "inputs": ["a"]}, "give input or inputs, not both"),
        ("relu", {"name": "a\nb"}, "expected printable text without space at its ends, got 'a\\nb'"),
        (
            "relu",
            {"name": "\u202eevil"},
            "expected printable text without space at its ends, got '\\u202eevil'",
        ),
        (
            "conv2d",
            {"out_channels": 4, "kernel": 3, "activation": "prelu"},
            "does not match any of the expected tags",
        ),
        ("leaky_relu", {"slope": float("nan")}, "Input should be a finite number"),
    ],
)
def test_fields_that_are_refused(op: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make(op, **fields)
    assert message in caught.value.errors()[0]["msg"]


def test_layers_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make("relu").name = "y"


def test_an_activation_layer_is_its_activation() -> None:
    for op, cls in OPS.items():
        assert cls.model_fields["op"].default == op
    assert isinstance(make("leaky_relu", slope=0.2), OPS["leaky_relu"].__mro__[1])
