# ruff: noqa: E501 (graphs stand here as they are printed)
"""fuse_squeeze_excite: which blocks are one step, what becomes of them, and the kernel that runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnngen.codegen import passes
from cnngen.codegen.choices import Choices
from cnngen.codegen.emit.cuda_kernels import tile_options
from cnngen.codegen.emit.steps import network_view
from cnngen.codegen.graph import Graph
from cnngen.codegen.graph_text import step_digest
from cnngen.codegen.interpret import run_node
from cnngen.codegen.lower import lower
from cnngen.codegen.node_ops import SqueezeExcite
from cnngen.codegen.passes.fuse_squeeze_excite import fuse_squeeze_excite
from cnngen.codegen.plan import Plan, make_plan
from cnngen.codegen.targets import CPU
from cnngen.codegen.tiles import tile_text
from cnngen.codegen.titles import titles_of
from cnngen.codegen.verify import verify

from .networks import Network, network, random_network
from .patterns import squeeze_excite
from .test_networks import SETTINGS, check_passes
from .texts import before, constants, steps, text

Layer = Mapping[str, Any]

POOL = {"name": "pool", "op": "global_avg_pool", "input": "x"}
REDUCE = {"name": "fc1", "op": "conv2d", "out_channels": 4, "kernel": 1, "activation": "relu"}
EXPAND = {"name": "fc2", "op": "conv2d", "out_channels": 16, "kernel": 1, "activation": "sigmoid"}
SCALE = {"name": "y", "op": "mul", "inputs": ["x", "fc2"]}
BLOCK = (POOL, REDUCE, EXPAND, SCALE)
AS_WRITTEN, FUSED, SCALED = (Choices(every={"fuse_squeeze_excite": option}) for option in range(3))


def block(*layers: Layer, shape: Sequence[int] = (1, 16, 8, 8), **fields: object) -> Network:
    return network(*(layers or BLOCK), shape=shape, **fields)


def fused(drawn: Network) -> Graph:
    return fuse_squeeze_excite(before("fuse_squeeze_excite", drawn), FUSED)


def test_two_convolutions_of_a_mean_are_one_step() -> None:
    graph = fused(block())
    assert steps(graph) == text("""
        fc2.conv [1, 16, 1, 1] float32 NHWC = squeezeexcite<hidden=relu((acc + fc1.bias[c]))>(x, fc1.weight, fc2.weight, fc1.bias) -> acc + fc2.bias[c]  # pool, fc1, fc2
        fc2 [1, 16, 1, 1] float32 NHWC = sigmoid(fc2.conv[n, c, 0, 0])  # fc2
        y [1, 16, 8, 8] float32 NHWC = x[n, c, h, w] * fc2[n, c, 0, 0]  # y
        """)
    assert constants(graph) == constants(before("fuse_squeeze_excite", block()))


def test_so_are_two_matrix_products() -> None:
    layers = (
        {**POOL, "keepdims": False},
        {"name": "fc1", "op": "linear", "out_features": 4, "bias": False},
        {"name": "fc2", "op": "linear", "out_features": 16, "activation": "hard_sigmoid"},
        {"name": "gate", "op": "reshape", "shape": [0, 16, 1, 1]},
        {**SCALE, "inputs": ["x", "gate"]},
    )
    assert steps(fused(block(*layers)), without=("x", "y", "y@output")) == text("""
        fc2.matmul [1, 16] float32 = squeezeexcite(x, fc1.weight, fc2.weight) -> acc + fc2.bias[c]  # pool, fc1, fc2
        fc2 [1, 16] float32 = hard_sigmoid(fc2.matmul[n, c], 0.166667, 0.5)  # fc2
        gate [1, 16, 1, 1] float32 NHWC = reshape(fc2)  # gate
        """)


def test_all_that_is_done_to_a_hidden_unit_alone_moves_into_the_step() -> None:
    layers = (
        POOL,
        {**REDUCE, "activation": None},
        {"name": "norm", "op": "batch_norm"},
        {"name": "slope", "op": "prelu"},
        {"name": "shift", "op": "add", "value": 3},
        {"name": "k", "op": "mul", "parameter": "factor"},
        EXPAND,
        SCALE,
    )
    line = steps(fused(block(*layers))).splitlines()[0]
    assert line == (
        "fc2.conv [1, 16, 1, 1] float32 NHWC = squeezeexcite<hidden=(prelu((acc + fc1.bias[c]), slope.weight[c]) + 3) * factor[c, 0, 0]>"
        "(x, fc1.weight, fc2.weight, fc1.bias, slope.weight, factor) -> acc + fc2.bias[c]  # pool, fc1, norm, slope, shift, k, fc2"
    )


def test_sequences_whose_channels_are_innermost() -> None:
    conv = {"op": "conv1d", "kernel": 1, "bias": False}
    layers = (
        {"name": "a", **conv, "out_channels": 16, "input": "x"},
        {**POOL, "input": "a"},
        {"name": "b", **conv, "out_channels": 4},
        {"name": "c", **conv, "out_channels": 16},
        {"name": "y", "op": "mul", "inputs": ["a", "c"]},
    )
    graph = fused(block(*layers, shape=(2, 3, 10)))
    assert "c.conv [2, 16, 1, 1] float32 NHWC = squeezeexcite(a, b.weight, c.weight)  # pool, b, c" in steps(
        graph
    )


def test_what_follows_the_second_product_is_the_epilogue() -> None:
    drawn = block(precision="float16")
    graph = passes.run(lower(drawn.spec, drawn.weights, 1), FUSED)
    assert steps(graph) == text("""
        fc2 [1, 16, 1, 1] float16 NHWC = squeezeexcite<hidden=relu((acc + fc1.bias[c]))>(x, fc1.weight, fc2.weight, fc1.bias) -> sigmoid((acc + fc2.bias[c]))  # pool, fc1, fc2
        """)


HALF = {"storage": "float16"}


@pytest.mark.parametrize(
    ("layers", "fields"),
    [
        (({**POOL, "op": "global_max_pool"}, *BLOCK[1:]), {}),
        ((POOL, REDUCE, {**EXPAND, "out_channels": 8}, {"name": "y", "op": "relu"}), {}),
        ((POOL, {**REDUCE, "groups": 2}, EXPAND, SCALE), {}),
        ((POOL, {**REDUCE, "padding": 1, "kernel": 3}, EXPAND, SCALE), {}),
        ((POOL, {**REDUCE, "padding": 1, "stride": 3}, EXPAND, SCALE), {}),
        ((POOL, EXPAND, SCALE), {}),
        ((POOL, {"name": "n", "op": "relu"}, *BLOCK[1:]), {}),
        ((POOL, REDUCE, {"name": "n", "op": "softmax", "axis": 1}, EXPAND, SCALE), {}),
        # A hidden unit that depends on another one, on something stored, or on the item of the batch.
        ((POOL, REDUCE, {"name": "n", "op": "channel_shuffle", "groups": 2}, EXPAND, SCALE), {}),
        ((POOL, REDUCE, {"name": "n", "op": "mul", "inputs": ["fc1", "pool"]}, EXPAND, SCALE), {"shape": (1, 1, 8, 8)}),
        # Somebody else needs what would not be stored.
        (BLOCK, {"outputs": ["y", "pool"]}),
        (BLOCK, {"outputs": ["y", "fc1"]}),
        ((*BLOCK, {"name": "z", "op": "mul", "inputs": ["y", "pool"]}), {}),
        # Other types than the map's.
        ((POOL, {**REDUCE, "precision": HALF}, EXPAND, SCALE), {}),
        ((POOL, REDUCE, {**EXPAND, "precision": HALF}, SCALE), {}),
        # More hidden units than shared memory holds.
        ((POOL, {**REDUCE, "out_channels": 8000}, EXPAND, SCALE), {}),
    ],
)  # fmt: skip
def test_what_stays_as_it_is(layers: Sequence[Layer], fields: dict[str, Any]) -> None:
    graph = before("fuse_squeeze_excite", block(*layers, **fields))
    after = fuse_squeeze_excite(graph, FUSED)
    assert not after.sites
    assert after.nodes == graph.nodes


@pytest.mark.parametrize(
    ("layers", "fields"),
    [
        (BLOCK, {"outputs": ["y", "fc2"]}),
        ((*BLOCK[:3], {"name": "y", "op": "add", "inputs": ["x", "fc2"]}), {}),
        ((*BLOCK[:3], {"name": "z", "op": "relu", "input": "x"}, {**SCALE, "inputs": ["z", "fc2"]}), {}),
        ((*BLOCK[:3], {"name": "square", "op": "mul", "inputs": ["fc2", "fc2"]}, {**SCALE, "op": "add", "inputs": ["x", "square"]}), {}),
        ((*BLOCK[:3], {"name": "few", "op": "softmax", "axis": 1}, {**SCALE, "inputs": ["x", "few"]}), {}),
    ],
)  # fmt: skip
def test_gates_for_whatever_they_are(layers: Sequence[Layer], fields: dict[str, Any]) -> None:
    """What does not scale the map that they are of, or is needed otherwise too, keeps its step."""
    (site,) = fused(block(*layers, **fields)).sites
    assert site.options == ("as_written", "fused")


def test_the_map_is_scaled_in_the_same_step() -> None:
    residual = {"name": "r", "op": "add", "inputs": ["y", "x"]}
    drawn = block(*BLOCK, residual, {"name": "z", "op": "relu"}, outputs=[{"layer": "z", "layout": "NHWC"}])
    graph = passes.run(lower(drawn.spec, drawn.weights, 1), SCALED)
    assert steps(graph) == text("""
        z@output [1, 16, 8, 8] float32 NHWC = squeezeexcite<hidden=relu((acc + fc1.bias[c])), gate=sigmoid((acc + fc2.bias[c]))>(x, fc1.weight, fc2.weight, fc1.bias, fc2.bias) -> relu((acc + x[n, c, h, w]))  # pool, fc1, fc2, y, r, z
        """)


def test_so_is_one_whose_gates_are_a_view_of_a_matrix() -> None:
    layers = (
        {**POOL, "keepdims": False},
        {"name": "fc1", "op": "linear", "out_features": 4},
        {"name": "fc2", "op": "linear", "out_features": 16, "activation": "hard_sigmoid"},
        {"name": "gate", "op": "reshape", "shape": [0, 16, 1, 1]},
        {**SCALE, "inputs": ["gate", "x"]},
    )
    graph = fuse_squeeze_excite(before("fuse_squeeze_excite", block(*layers)), SCALED)
    assert steps(graph, without=("x", "y@output")) == text("""
        y [1, 16, 8, 8] float32 NHWC = squeezeexcite<hidden=acc + fc1.bias[c], gate=hard_sigmoid((acc + fc2.bias[c]), 0.166667, 0.5)>(x, fc1.weight, fc2.weight, fc1.bias, fc2.bias)  # pool, fc1, fc2, gate, y
        """)


@pytest.mark.parametrize(("side", "chosen"), [(14, "fused_scaled"), (80, "fused"), (224, "as_written")])
def test_what_the_price_prefers(side: int, chosen: str) -> None:
    """Without a lock a block an image reads the whole map."""
    drawn = block(shape=(1, 16, side, side), precision="float16")
    (site,) = fuse_squeeze_excite(before("fuse_squeeze_excite", drawn), Choices()).sites
    assert site.options == ("as_written", "fused", "fused_scaled")
    assert site.chosen == chosen


def test_as_written_nothing_changes() -> None:
    graph = before("fuse_squeeze_excite", block())
    assert fuse_squeeze_excite(graph, AS_WRITTEN).nodes == graph.nodes


def test_on_a_cpu_nothing_is_fused() -> None:
    graph = before("fuse_squeeze_excite", block())
    assert fuse_squeeze_excite(graph, FUSED, CPU) == graph


@pytest.mark.parametrize("option", [0, 1, 2])
def test_no_form_changes_the_function_computed(option: int) -> None:
    found = []

    @given(st.randoms(use_true_random=False))
    @settings(SETTINGS, max_examples=60)
    def holds(rng: Any) -> None:  # noqa: ANN401
        drawn = random_network(rng, patterns=(squeeze_excite,), largest=3)
        choices = Choices(every={"fuse_squeeze_excite": option})
        check_passes(drawn, drawn.spec.batch_sizes[-1], choices)
        found.extend(passes.run(lower(drawn.spec, drawn.weights, 1), choices).sites)

    holds()
    assert sum(site.rewrite == "fuse_squeeze_excite" for site in found) > 20


def test_the_op_by_its_definition() -> None:
    graph = fused(block(shape=(3, 16, 5, 7)))
    node = next(node for node in graph.nodes if isinstance(node.op, SqueezeExcite))
    rng = np.random.default_rng(0)
    x, w1, w2 = rng.normal(size=(3, 16, 5, 7)), rng.normal(size=(4, 16, 1, 1)), rng.normal(size=(16, 4, 1, 1))
    b1, b2 = rng.normal(size=4), rng.normal(size=16)
    means = x.mean(axis=(2, 3))
    units = np.maximum(np.einsum("nc,mc->nm", means, w1[:, :, 0, 0]) + b1, 0)
    want = (np.einsum("nm,cm->nc", units, w2[:, :, 0, 0]) + b2).reshape(3, 16, 1, 1)
    np.testing.assert_allclose(run_node(node, [x, w1, w2, b1, b2]), want, rtol=1e-12)
    scaled = fuse_squeeze_excite(before("fuse_squeeze_excite", block(shape=(3, 16, 5, 7))), SCALED)
    node = next(node for node in scaled.nodes if isinstance(node.op, SqueezeExcite))
    np.testing.assert_allclose(run_node(node, [x, w1, w2, b1, b2]), x / (1 + np.exp(-want)), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda node: replace(node, inputs=(node.inputs[0], *node.inputs[2:0:-1], *node.inputs[3:])), "do not make gates"),
        (lambda node: replace(node, inputs=node.inputs[:3]), "lacks operands"),
        (lambda node: replace(node, value=replace(node.value, shape=(1, 4, 2, 2))), "do not make gates"),
    ],
)  # fmt: skip
def test_a_wrong_one_is_refused(change: Any, problem: str) -> None:  # noqa: ANN401
    graph = fused(block())
    nodes = [change(node) if isinstance(node.op, SqueezeExcite) else node for node in graph.nodes]
    with pytest.raises(ValueError, match=problem):
        verify(replace(graph, nodes=tuple(nodes)))


# --- the kernel -------------------------------------------------------------------------------------------


def plan(drawn: Network, engines: Mapping[str, tuple[str, str]] | None = None) -> Plan:
    choices = replace(FUSED, engines=engines or {})
    return make_plan(drawn.spec, drawn.weights, choices=lambda _profile, _batch: choices)


def test_the_kernel_reads_its_constants_before_the_sums_are_there() -> None:
    drawn = block(precision="float16")
    (kernel,) = [
        k.kernel for k in network_view(plan(drawn)).kernels if "squeeze_excite.cuh" in k.kernel.headers
    ]
    assert "\n".join(kernel.lines) == text("""
        constexpr cnngen::SqueezeExciteShape shape = {.c = 16, .hidden = 4, .pixels = 64};
        constexpr cnngen::SqueezeExciteTile tile = {.v = 8, .threads = 512};
        const auto hidden = [&](int, int c) {
        const float v0 = cnngen::to_float(weight2[c]);
        return [=](float (&acc)[1]) {
        acc[0] = cnngen::fn::relu(acc[0] + v0);
        };
        };
        const auto epilogue = [&](int, int c) {
        const float v0 = cnngen::to_float(weight3[c]);
        return [=](float (&acc)[1]) {
        acc[0] = cnngen::fn::sigmoid(acc[0] + v0);
        };
        };
        cnngen::squeeze_excite<__half, tile, shape>(batch, x, weight0, weight1, y, hidden, epilogue);
        """)


def test_without_a_lock_any_gpu_can_run_it_and_a_lock_may_name_clusters() -> None:
    drawn = block(
        POOL, REDUCE, {**EXPAND, "out_channels": 128}, SCALE, shape=(1, 128, 14, 14), precision="float16"
    )
    first = plan(drawn)
    graph = first.batches[0].graph
    (node,) = [node for node in graph.nodes if isinstance(node.op, SqueezeExcite)]
    options = [tile_text(tile) for tile in tile_options(node, graph, 1)]
    assert options[0] == "v=8 threads=512 cluster=1 slices=1 keeps=0"
    assert len(set(options)) == len(options)
    assert {option.split()[2] for option in options} == {f"cluster={size}" for size in (1, 2, 4, 8)}
    assert network_view(first).capability == 0
    wanted = next(option for option in options if "cluster=8" in option)
    tuned = plan(drawn, {titles_of(graph)[node.name]: (f"tile {wanted}", step_digest(node, graph))})
    view = network_view(tuned)
    assert view.capability == 90
    launches = [line for step in view.steps for variant in step.variants for line in variant.lines]
    assert any(".blocks = 8, .threads = 512, .cluster = 8" in line for line in launches)
