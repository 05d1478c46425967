"""The text of CPU kernels: which loops there are, what stands before the innermost one, and what splits it.

That it computes the right numbers is shown by running it: tests/cpu.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from cnngen.codegen.emit.steps import network_view
from cnngen.codegen.plan import Plan, make_plan
from cnngen.codegen.targets import CPU

from .networks import network

Layer = Mapping[str, Any]
POOL = {"op": "max_pool2d", "kernel": 1}  # what stores its input and its output, channels-last


def planned(*layers: Layer, **fields: object) -> Plan:
    drawn = network(*layers, **fields)
    return make_plan(drawn.spec, drawn.weights, CPU)


def kernels(*layers: Layer, **fields: object) -> dict[str, str]:
    view = network_view(planned(*layers, **fields))
    return {kernel.name: "\n".join(kernel.kernel.lines) for kernel in view.kernels}


def between(*layers: Layer, shape: tuple[int, ...], **fields: object) -> str:
    """The kernel of what stands between two stored values."""
    found = kernels({"name": "before", **POOL}, *layers, {"name": "after", **POOL}, shape=shape, **fields)
    (text,) = [text for name, text in found.items() if name.startswith(layers[-1]["name"])]
    return text


def lines(block: str) -> str:
    return textwrap.dedent(block).strip()


def test_one_loop_where_every_element_is_made_of_its_own() -> None:
    layers = (
        {"name": "s", "op": "softmax", "axis": 1},
        {"name": "y", "op": "mul", "inputs": ["s", "before"]},
    )
    assert between(*layers, shape=(1, 16, 4, 4)) == lines("""
        const std::int64_t size = std::int64_t{batch} * 256;
        #pragma omp parallel for simd if (parallel: cnngen::is_large(batch, 256))
        for (std::int64_t i = 0; i < size; ++i) {
        y[i] = x0[i] * x1[i];
        }
        """)


def test_rows_are_shared_and_neighbours_are_a_loop_of_vectors() -> None:
    layers = ({"name": "s", "op": "softmax", "axis": 1}, {"name": "y", "op": "add", "parameter": "k"})
    assert between(*layers, shape=(1, 16, 4, 4)) == lines("""
        #pragma omp parallel for collapse(3) if (cnngen::is_large(batch, 256))
        for (int n = 0; n < batch; ++n)
        for (int h = 0; h < 4; ++h)
        for (int w = 0; w < 4; ++w) {
        #pragma omp simd
        for (int c = 0; c < 16; ++c) {
        y[((n * 4 + h) * 4 + w) * 16 + c] = x[((n * 4 + h) * 4 + w) * 16 + c] + weight[c];
        }
        }
        """)


def test_three_channels_are_written_out() -> None:
    assert kernels({"name": "y", **POOL}, shape=(1, 3, 80, 8))["x"] == lines("""
        #pragma omp parallel for collapse(2) if (cnngen::is_large(batch, 1920))
        for (int n = 0; n < batch; ++n)
        for (int h = 0; h < 80; ++h) {
        #pragma omp simd
        for (int w = 0; w < 8; ++w) {
        y[((n * 80 + h) * 8 + w) * 3] = x[(n * 240 + h) * 8 + w];
        y[((n * 80 + h) * 8 + w) * 3 + 1] = x[((n * 3 + 1) * 80 + h) * 8 + w];
        y[((n * 80 + h) * 8 + w) * 3 + 2] = x[((n * 3 + 2) * 80 + h) * 8 + w];
        }
        }
        """)


def test_a_concat_along_the_innermost_axis_is_two_loops() -> None:
    parts = ({"name": "a", **POOL}, {"name": "b", "op": "avg_pool2d", "kernel": 1, "input": "before"})
    text = between(*parts, {"name": "y", "op": "concat", "inputs": ["a", "b"]}, shape=(1, 6, 2, 2))
    assert "?" not in text
    assert (
        "for (int c = 0; c < 6; ++c) {\ny[((n * 2 + h) * 2 + w) * 12 + c] = x0[((n * 2 + h) * 2 + w) * 6 + c];"
        in text
    )
    assert (
        "for (int c = 6; c < 12; ++c) {\ny[((n * 2 + h) * 2 + w) * 12 + c] = x1[((n * 2 + h) * 2 + w) * 6 + (c - 6)];"
        in text
    )


def test_a_concat_along_rows_is_a_chain_of_branches() -> None:
    parts = ({"name": "a", **POOL}, {"name": "b", "op": "avg_pool2d", "kernel": 1, "input": "before"})
    join = {"name": "y", "op": "concat", "axis": 2, "inputs": ["a", "b", "before"]}
    heads = [
        line
        for line in between(*parts, join, shape=(1, 6, 2, 2)).splitlines()
        if "if (h" in line or "else" in line
    ]
    assert heads == ["if (h < 2) {", "} else if (h < 4) {", "} else {"]


def test_nothing_is_read_outside_a_padded_map() -> None:
    layers = (
        {"name": "s", "op": "softmax", "axis": 1},
        {"name": "y", "op": "pad", "padding": [1, 0, 0, 0], "value": 2},
    )
    text = between(*layers, shape=(1, 5, 4, 4))
    inside, outside = text.split("} else {")
    assert "if (h >= 1) {" in inside
    assert "x[" in inside
    assert "x[" not in outside


def test_too_many_conditions_stay_in_the_loop() -> None:
    parts = [
        {
            "name": f"p{i}",
            "op": "avg_pool2d",
            "kernel": 2 * i + 1,
            "padding": i,
            "stride": 1,
            "input": "before",
        }
        for i in range(14)
    ]
    join = {"name": "y", "op": "concat", "inputs": [part["name"] for part in parts]}
    text = between(*parts, join, shape=(1, 5, 30, 30))
    assert text.count("#pragma omp simd") == 1
    assert text.count("?") == 13


def test_indices_and_weights_of_a_bilinear_pixel_are_worked_out_once() -> None:
    text = between({"name": "y", "op": "upsample", "scale": 2, "mode": "bilinear"}, shape=(1, 16, 4, 4))
    before, inside = text.split("#pragma omp simd")
    assert before.count("static_cast<int>") == 2
    assert "static_cast<int>" not in inside


def test_what_is_the_same_along_the_loop_is_read_before_it() -> None:
    layers = ({"name": "z", "op": "layer_norm", "affine": True, "bias": True},)
    found = kernels(*layers, shape=(2, 5, 40))
    (rows,) = [text for text in found.values() if "rsqrt" in text]
    before, inside = rows.split("#pragma omp simd")
    assert "const float t1 = x1[n * 5 + i1];" in before
    assert "x1[" not in inside


def test_a_long_row_is_shared_by_itself() -> None:
    text = kernels({"name": "z", "op": "add", "parameter": "k"}, shape=(1, 20000))["z"]
    assert text.splitlines()[:2] == [
        "for (int n = 0; n < batch; ++n) {",
        "#pragma omp parallel for simd if (parallel: cnngen::is_large(batch, 20000))",
    ]


def test_a_transpose_goes_by_tiles_of_neighbours_on_both_sides() -> None:
    text = kernels({"name": "z", "op": "transpose", "axes": [0, 2, 1]}, shape=(1, 70, 90))["z"]
    assert text == lines("""
        #pragma omp parallel for collapse(2) if (cnngen::is_large(batch, 6300))
        for (int n = 0; n < batch; ++n)
        for (int tile = 0; tile < 70; tile += 16)
        for (int i1 = 0; i1 < 90; ++i1) {
        #pragma omp simd
        for (int i2 = tile; i2 < std::min(tile + 16, 70); ++i2) {
        y[(n * 90 + i1) * 70 + i2] = x[(n * 70 + i2) * 90 + i1];
        }
        }
        """)


def test_an_epilogue_takes_an_element_and_where_it_is() -> None:
    layers = (
        {"name": "z", "op": "max_pool2d", "kernel": 2},
        {"name": "zz", "op": "add", "parameter": "k"},
        {"name": "c", "op": "conv2d", "out_channels": 2, "kernel": 1},
    )
    text = kernels(*layers, shape=(1, 8, 4, 4))["z"]
    assert "const auto epilogue = [&](float acc, int, int c, int, int) {\nreturn acc + weight[c];\n};" in text
    layers = ({"name": "z", "op": "global_avg_pool"}, {"name": "zz", "op": "add", "parameter": "k"})
    text = kernels(*layers, shape=(1, 8, 4, 4))["z"]
    assert (
        "const auto epilogue = [&](float acc, std::int64_t i) {\nconst int c = i % 8;\nreturn acc + weight[c];\n};"
        in text
    )


def test_a_reduction_says_what_it_keeps() -> None:
    mean = {"name": "z", "op": "reduce_mean", "axes": [1]}
    assert (
        ".kept = {{1, 200}, {25, 8}}, .rows = 25, .row = 8}"
        in kernels(POOL | {"name": "p"}, mean, shape=(1, 8, 5, 5))["z"]
    )
    whole = {"name": "z", "op": "global_avg_pool"}
    assert (
        ".kept = {{1, 200}}, .reduced = {{25, 8}}, .inner = 8}"
        in kernels(POOL | {"name": "p"}, whole, shape=(1, 8, 5, 5))["z"]
    )


def test_other_types_are_converted_at_loads_and_stores() -> None:
    layers = ({"name": "s", "op": "softmax", "axis": 1}, {"name": "y", "op": "silu"})
    text = between(*layers, shape=(1, 16, 4, 4), precision="bfloat16")
    assert "y[i] = cnngen::from_float<cnngen::bfloat16>(cnngen::fn::silu(cnngen::to_float(x[i])));" in text
    # What is only moved is moved as it is.
    moved = between({"name": "y", "op": "upsample", "scale": 2}, shape=(1, 16, 4, 4), precision="bfloat16")
    assert "to_float" not in moved


def test_indices_have_64_bits_where_the_largest_batch_needs_them() -> None:
    layers = ({"name": "z", "op": "add", "parameter": "k"},)
    assert "std::int64_t n" not in kernels(*layers, shape=(1, 4, 64, 64), batch_sizes=[1, 131071])["z"]
    assert "std::int64_t n" in kernels(*layers, shape=(1, 4, 64, 64), batch_sizes=[1, 131072])["z"]


def test_every_convolution_and_product_is_the_librarys() -> None:
    conv = {"op": "conv2d", "out_channels": 8, "kernel": 3, "padding": 1}
    layers = (
        {"name": "a", **conv},
        {"name": "b", **conv, "groups": 8},
        {"name": "c", **conv, "groups": 4},
        {"name": "d", "op": "linear", "out_features": 3},
    )
    plan = planned(*layers[:3], {"name": "f", "op": "flatten"}, layers[3], shape=(1, 8, 4, 4))
    assert {node.form for node in plan.batches[0].graph.nodes if node.form} == {"onednn"}
    assert all(constant.value.layout != "RSCK" for constant in plan.batches[0].graph.constants.values())


def test_float16_is_float32_but_at_the_ports() -> None:
    plan = planned(
        {"name": "z", "op": "relu"},
        precision="float16",
        inputs={"x": {"shape": [1, 3, 4, 4], "dtype": "float16"}},
    )
    graph = plan.batches[0].graph
    assert plan.computed.precision.storage == "float32"
    assert plan.spec.precision.storage == "float16"
    assert graph.inputs[0].dtype == "float16"
    assert {node.value.dtype for node in graph.nodes} == {"float32"}


def test_a_residuals_sum_lies_over_the_residual() -> None:
    conv = {"op": "conv2d", "out_channels": 8, "kernel": 3, "padding": 1}
    block = [{"name": name, **conv} for name in "abc"]
    total = {"name": "s", "op": "add", "inputs": ["c", "a"]}
    offsets = planned(*block, total, {"name": "d", **conv}, shape=(1, 8, 4, 4)).batches[0].arena.offsets
    assert offsets["s"] == offsets["a"]
    # Not where the residual is needed later.
    again = ({"name": "d", **conv}, {"name": "t", "op": "mul", "inputs": ["d", "a"]}, {"name": "e", **conv})
    offsets = planned(*block, total, *again, shape=(1, 8, 4, 4)).batches[0].arena.offsets
    assert offsets["s"] != offsets["a"]
