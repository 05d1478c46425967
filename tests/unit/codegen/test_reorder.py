"""reorder: what runs before the pixels are repeated."""

from __future__ import annotations

from typing import Any

import pytest

from cnngen.codegen.choices import Choices
from cnngen.codegen.passes.reorder import reorder
from cnngen.codegen.targets import CPU

from .networks import network
from .texts import after, assert_rewrite, before, steps, text

TWICE: dict[str, Any] = {"name": "u", "op": "upsample", "scale": 2}
POINT: dict[str, Any] = {"op": "conv2d", "out_channels": 2, "kernel": 1, "bias": False}


def test_a_1x1_convolution_and_its_activation_see_the_small_image() -> None:
    drawn = network(TWICE, {"name": "c", **POINT, "bias": True}, {"name": "y", "op": "relu"})
    assert_rewrite("reorder", drawn, """
        u [1, 3, 16, 16] float32 NHWC = x[n, c, (h / 2), (w / 2)]  # u
        c [1, 2, 16, 16] float32 NHWC = conv(u, c.weight) -> acc + c.bias[c]  # c
        y [1, 2, 16, 16] float32 NHWC = relu(c[n, c, h, w])  # y
        """, """
        c.small [1, 2, 8, 8] float32 NHWC = conv(x, c.weight) -> acc + c.bias[c]  # c
        y.small [1, 2, 8, 8] float32 NHWC = relu(c.small[n, c, h, w])  # y
        y [1, 2, 16, 16] float32 NHWC = y.small[n, c, (h / 2), (w / 2)]  # u, c, y
        """)  # fmt: skip


def test_norm_and_activation_leave_bare_repetition_to_be_folded() -> None:
    """The convolution behind them then folds."""
    conv = {"name": "y", "op": "conv2d", "out_channels": 2, "kernel": 5, "padding": 2, "bias": False}
    drawn = network(TWICE, {"name": "n", "op": "batch_norm"}, {"name": "a", "op": "silu"}, conv)
    assert steps(after("reorder", drawn)) == text("""
        n.small [1, 3, 8, 8] float32 NHWC = affine(x, n.scale, n.shift)  # n
        a.small [1, 3, 8, 8] float32 NHWC = silu(n.small[n, c, h, w])  # a
        a [1, 3, 16, 16] float32 NHWC = a.small[n, c, (h / 2), (w / 2)]  # u, n, a
        y [1, 2, 16, 16] float32 NHWC = conv<padding=(2, 2, 2, 2)>(a, y.weight)  # y
        """)
    assert [site.layer for site in after("fold_channels", drawn).sites] == ["y"]


def test_through_one_repetition_after_the_other() -> None:
    drawn = network(TWICE, {"name": "v", "op": "upsample", "scale": [1, 3]}, {"name": "y", "op": "relu"})
    assert steps(after("reorder", drawn)) == text("""
        y.small.small [1, 3, 8, 8] float32 NHWC = relu(x[n, c, h, w])  # y
        y.small [1, 3, 16, 16] float32 NHWC = y.small.small[n, c, (h / 2), (w / 2)]  # u, y
        y [1, 3, 16, 48] float32 NHWC = y.small[n, c, h, (w / 3)]  # v, y
        """)


@pytest.mark.parametrize(
    "layers",
    [
        ({"name": "y", **POINT, "padding": 1},),
        ({"name": "y", **POINT, "stride": 2},),
        ({"name": "y", **POINT, "out_channels": 3, "groups": 3},),
        ({"name": "y", "op": "add", "parameter": "k", "parameter_shape": [16, 16]},),
        ({"name": "y", "op": "add", "inputs": ["u", "x2"]},),
        ({"name": "y", "op": "softmax", "axis": 1},),
        ({"name": "a", "op": "relu"}, {"name": "y", "op": "mul", "inputs": ["a", "u"]}),  # u is needed anyway
    ],
)
def test_what_stays_behind_the_repetition(layers: tuple[dict[str, Any], ...]) -> None:
    more = {"name": "x2", "op": "upsample", "scale": 2, "mode": "bilinear"}
    drawn = network(more, {**TWICE, "input": "x"}, *layers)
    assert steps(after("reorder", drawn)) == steps(before("reorder", drawn))


def test_where_the_large_image_is_needed_anyway_a_convolution_may_read_it() -> None:
    """The price decides, or a measurement."""
    drawn = network(TWICE, {"name": "y", **POINT, "out_channels": 16}, {"name": "z", "op": "relu", "input": "u"},
                    outputs=["y", "z"])  # fmt: skip
    given = before("reorder", drawn)
    (site,) = reorder(given, Choices()).sites
    assert site.options == ("as_written", "before_upsampling")
    for number, option in enumerate(site.options):
        graph = reorder(given, Choices(every={"reorder": number}))
        assert ("y.small" in graph.values) == (option == "before_upsampling")


def test_on_a_cpu_nothing_moves() -> None:
    graph = before("reorder", network(TWICE, {"name": "y", **POINT}))
    assert reorder(graph, Choices(), CPU) == graph
