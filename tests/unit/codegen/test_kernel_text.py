# ruff: noqa: E501 (code stands here as it is written)
"""The text of kernels: what is read once, what in vectors, and what stands behind which condition.

That it computes the right numbers is shown by running it: tests/compiler/test_generated_networks.py.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import pytest

from cnngen.codegen.emit.cpp import float_text
from cnngen.codegen.emit.cuda_text import bias_and_rest
from cnngen.codegen.emit.steps import network_view
from cnngen.codegen.expr import ACC, Coord, Expr, Load, call, coords
from cnngen.codegen.plan import make_plan

from .networks import network

Layer = Mapping[str, Any]
POOL = {"op": "max_pool2d", "kernel": 1}  # what stores its input and its output, channels-last


def kernels(*layers: Layer, **fields: object) -> dict[str, str]:
    drawn = network(*layers, **fields)
    view = network_view(make_plan(drawn.spec, drawn.weights))
    return {kernel.name: "\n".join(kernel.kernel.lines) for kernel in view.kernels}


def between(*layers: Layer, shape: tuple[int, ...], **fields: object) -> str:
    """The kernel of what stands between two stored values."""
    found = kernels({"name": "before", **POOL}, *layers, {"name": "after", **POOL}, shape=shape, **fields)
    (text,) = [text for name, text in found.items() if name.startswith(layers[-1]["name"])]
    return text


def lines(block: str) -> str:
    return textwrap.dedent(block).strip()


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0, "1.0f"),
        (-0.5, "-0.5f"),
        (0.1, "0.1f"),
        (1 / 3, "0.33333334f"),
        (1e-05, "1e-05f"),
        (16777217.0, "1.6777216e+07f"),
        (float("inf"), "INFINITY"),
        (-1e39, "-INFINITY"),  # no float32
        (1e-60, "0.0f"),
    ],
)
def test_numbers_are_the_shortest_literals_of_the_same_float(number: float, text: str) -> None:
    assert float_text(number) == text


def test_a_channels_last_step_reads_and_writes_16_bytes_at_once() -> None:
    layers = ({"name": "s", "op": "softmax", "axis": 1}, {"name": "y", "op": "add", "parameter": "k"})
    assert between(*layers, shape=(1, 16, 4, 4), precision="float16") == lines("""
        const int i = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
        if (i >= batch * 32) return;
        const int c = i % 2 * 8;
        float v0[8];
        cnngen::to_float(cnngen::load<8>(x + i * 8), v0);
        float v1[8];
        cnngen::to_float(cnngen::load_readonly<8>(weight + c), v1);
        float out[8];
        #pragma unroll
        for (int lane = 0; lane < 8; ++lane) {
        out[lane] = v0[lane] + v1[lane];
        }
        cnngen::store(y + i * 8, cnngen::from_float<__half>(out));
        """)


def test_an_odd_channel_count_is_done_one_by_one() -> None:
    layers = ({"name": "s", "op": "softmax", "axis": 1}, {"name": "y", "op": "add", "parameter": "k"})
    assert between(*layers, shape=(1, 5, 4, 4)).splitlines()[2:] == [
        "const int c = i % 5;",
        "const float v0 = cnngen::to_float(x[i]);",
        "const float v1 = cnngen::to_float(weight[c]);",
        "y[i] = cnngen::from_float<float>(v0 + v1);",
    ]


def test_axes_are_as_one_where_no_coordinate_is_needed() -> None:
    layers = ({"name": "s", "op": "softmax", "axis": 1}, {"name": "y", "op": "silu"})
    assert between(*layers, shape=(1, 5, 4, 4)) == lines("""
        const int i = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
        if (i >= batch * 20) return;
        float v0[4];
        cnngen::to_float(cnngen::load<4>(x + i * 4), v0);
        float out[4];
        #pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
        out[lane] = cnngen::fn::silu(v0[lane]);
        }
        cnngen::store(y + i * 4, cnngen::from_float<float>(out));
        """)


def test_a_matrix_is_turned_in_registers() -> None:
    """Channels first to channels last, with what else the step does behind it."""
    image = {"x": {"shape": (1, 32, 16, 8), "layout": "NCHW", "dtype": "float16"}}
    found = kernels(
        {"name": "y", "op": "mul", "parameter": "k"}, {"name": "z", **POOL}, inputs=image, precision="float16"
    )
    assert found["y_2"] == lines("""
        constexpr cnngen::TransposeShape shape = {.rows = 32, .columns = 128, .row_pitch = 128, .column_pitch = 32, .readable = 32};
        constexpr cnngen::TransposeTile tile = {.v = 8, .w = 8, .across = 16, .threads = 64};
        const int image = static_cast<int>(blockIdx.x / cnngen::blocks(shape, tile));
        if (image >= batch) return;
        const int from = image * 4096;
        const int to = image * 4096;
        const auto epilogue = [&](float (&acc)[8], int place) {
        const int i = to + place;
        const int c = i % 32;
        float v0[8];
        cnngen::to_float(cnngen::load_readonly<8>(weight + c), v0);
        #pragma unroll
        for (int lane = 0; lane < 8; ++lane) {
        acc[lane] = acc[lane] * v0[lane];
        }
        };
        cnngen::transpose<__half, tile, shape>(blockIdx.x % cnngen::blocks(shape, tile), x + from, y + to, epilogue);
        """)


def test_channels_that_the_input_lacks_are_not_read() -> None:
    image = {"x": {"shape": (1, 3, 16, 16), "layout": "NCHW"}}
    pad = {"name": "y", "op": "pad", "pads": [[0, 0], [0, 1], [0, 0], [0, 0]]}
    text = kernels(pad, {"name": "z", **POOL}, inputs=image)["y_2"]
    assert ".rows = 4, .columns = 256, .row_pitch = 256, .column_pitch = 4, .readable = 3" in text
    assert "acc[lane] = lane < 3 ? acc[lane] : 0.0f;" in text


def test_a_matrix_that_does_not_fill_a_warp_is_read_element_by_element() -> None:
    bytes_of_8_channels = {"x": {"shape": (1, 8, 16, 8), "layout": "NCHW", "dtype": "uint8"}}
    layers = ({"name": "y", "op": "mul", "value": 0.5}, {"name": "z", **POOL})
    assert "cnngen::transpose" not in kernels(*layers, inputs=bytes_of_8_channels, precision="float16")["y_2"]


def test_parts_of_a_coordinate_are_turned_too() -> None:
    shuffle = {"name": "y", "op": "channel_shuffle", "groups": 16}
    text = between(shuffle, shape=(1, 1024, 2, 2))
    assert ".rows = 16, .columns = 64, .row_pitch = 64, .column_pitch = 16, .readable = 16" in text
    assert "const int matrix = static_cast<int>(blockIdx.x / cnngen::blocks(shape, tile));" in text
    assert "const int from = matrix / 4 * 4096 + matrix % 4 * 1024;" in text
    assert "cnngen::transpose" not in between(shuffle, shape=(1, 512, 2, 2))  # too few


def test_a_concat_along_whole_vectors_decides_once_for_all_lanes() -> None:
    parts = (
        {"name": "a", "op": "softmax", "axis": 1},
        {"name": "b", "op": "log_softmax", "axis": 1, "input": "before"},
    )
    join = {"name": "y", "op": "concat", "inputs": ["a", "b"]}
    text = between(*parts, join, shape=(1, 8, 2, 2))
    assert (
        lines("""
        float v0[4] = {};
        if (c < 8) cnngen::to_float(cnngen::load<4>(x0 + ((n * 2 + h) * 2 + w) * 8 + c), v0);
        float v1[4] = {};
        if (c >= 8) cnngen::to_float(cnngen::load<4>(x1 + ((n * 2 + h) * 2 + w) * 8 + (c - 8)), v1);
        """)
        in text
    )
    assert "out[lane] = c < 8 ? v0[lane] : v1[lane];" in text
    # A border within a vector: each lane decides for itself.
    assert "out[lane] = c + lane < 6 ? cnngen::to_float(x0[" in between(*parts, join, shape=(1, 6, 2, 2))


def test_nothing_is_read_outside_a_padded_map() -> None:
    """Also where the same load, or what is made of it, is needed twice."""
    layers = ({"name": "s", "op": "softmax", "axis": 1}, {"name": "t", "op": "tanh"}, {"name": "m", "op": "mul", "inputs": ["t", "t"]},
              {"name": "y", "op": "pad", "padding": [1, 0, 0, 0], "value": 2})  # fmt: skip
    assert between(*layers, shape=(1, 3, 4, 4)).splitlines()[-3:] == [
        "const float v0 = h >= 1 ? cnngen::to_float(x[((n * 4 + (h - 1)) * 4 + w) * 3 + c]) : 0.0f;",
        "const float t1 = cnngen::fn::tanh(v0);",
        "y[i] = cnngen::from_float<float>(h >= 1 ? t1 * t1 : 2.0f);",
    ]


def test_indices_and_weights_of_a_bilinear_pixel_are_worked_out_once() -> None:
    text = between({"name": "y", "op": "upsample", "scale": 2, "mode": "bilinear"}, shape=(1, 4, 4, 4))
    before, after = text.split("#pragma unroll")
    assert before.count("cnngen::load<4>") == 4
    assert before.count("static_cast<int>(h1)") == 1
    assert "load" not in after
    assert "static_cast<int>" not in after


DEPTHWISE = {"op": "conv2d", "groups": 8, "out_channels": 8, "kernel": 3, "padding": 1}


def test_an_epilogue_works_in_registers_on_the_lanes_of_a_tile() -> None:
    conv = {"name": "c", **DEPTHWISE, "bias": False, "activation": "relu6"}
    scale = {"name": "y", "op": "mul", "parameter": "scale"}
    assert (
        lines("""
        const auto epilogue = [&](float (&acc)[2], int, int c, int, int) {
        float v0[2];
        cnngen::to_float(cnngen::load_readonly<2>(weight1 + c), v0);
        #pragma unroll
        for (int lane = 0; lane < 2; ++lane) {
        acc[lane] = cnngen::fn::clip(acc[lane], 0.0f, 6.0f) * v0[lane];
        }
        };
        cnngen::depthwise<float, tile, shape>(batch, x, weight0, nullptr, y, epilogue);
        """)
        in kernels(conv, scale, {"name": "z", **POOL}, shape=(1, 8, 4, 4))["c"]
    )


@pytest.mark.parametrize(("activation", "more"), [(None, ""), ("relu6", ", epilogue")])
def test_a_sum_begins_with_its_bias(activation: str | None, more: str) -> None:
    conv = {"name": "y", **DEPTHWISE, "activation": activation}
    text = kernels(conv, {"name": "z", **POOL}, shape=(1, 8, 4, 4))["y_2"]
    assert f"(batch, x, weight0, weight1, y{more});" in text
    assert ("acc[lane] = cnngen::fn::clip(acc[lane], 0.0f, 6.0f);" in text) == (activation == "relu6")
    assert "load_readonly" not in text


def vector(source: int) -> Load:
    return Load(source, (Coord(1),))


BIASED = call("add", ACC, vector(2))
RESIDUAL = Load(3, coords(4))


@pytest.mark.parametrize(
    ("epilogue", "bias", "rest"),
    [
        (ACC, None, ACC),
        (BIASED, 2, ACC),
        (call("add", call("relu", BIASED), vector(3)), 2, call("add", call("relu", ACC), vector(3))),
        (call("mul", BIASED, call("sigmoid", BIASED)), 2, call("mul", ACC, call("sigmoid", ACC))),
        (call("mul", BIASED, call("sigmoid", ACC)), None, call("mul", BIASED, call("sigmoid", ACC))),
        (call("add", ACC, RESIDUAL), None, call("add", ACC, RESIDUAL)),
    ],
)
def test_only_what_is_added_to_every_sum_is_its_bias(epilogue: Expr, bias: int | None, rest: Expr) -> None:
    assert bias_and_rest(epilogue) == (bias, rest)


def test_equal_kernels_are_written_once() -> None:
    conv = {"op": "conv2d", "out_channels": 8, "kernel": 3, "padding": 1}
    layers = (
        {"name": "a", **conv},
        {"name": "p", "op": "mish"},
        {"name": "b", **conv},
        {"name": "q", "op": "mish"},
        {"name": "c", **conv},
    )
    assert list(kernels(*layers, shape=(1, 8, 4, 4))) == ["x", "p", "c_output"]


def test_batch_sizes_share_a_kernel_unless_its_tile_differs() -> None:
    pool = {"name": "y", "op": "max_pool2d", "kernel": 3, "stride": 1, "padding": 1}
    assert list(kernels(pool, shape=(1, 8, 32, 32), batch_sizes=[1, 2])) == ["x", "y_2", "y_output"]
    several = list(kernels(pool, shape=(1, 8, 32, 32), batch_sizes=[1, 64]))
    assert several == ["x", "y_2", "y_2_batch64", "y_output"]


def test_indices_have_64_bits_where_the_largest_batch_needs_them() -> None:
    relu = {"name": "y", "op": "relu"}
    assert "std::int64_t" not in kernels(relu, shape=(1, 4, 64, 64), batch_sizes=[1, 131071])["y_2"]
    assert kernels(relu, shape=(1, 4, 64, 64), batch_sizes=[1, 131072])["y_2"].splitlines()[:2] == [
        "const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * 256 + threadIdx.x;",
        "if (i >= std::int64_t{batch} * 4096) return;",
    ]
