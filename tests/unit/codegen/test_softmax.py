# ruff: noqa: E501 (graphs stand here as they are printed)
"""fuse_softmax: which products take the softmax of their filters along, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnngen.codegen import passes
from cnngen.codegen.choices import Choices
from cnngen.codegen.emit.cuda_kernels import tile_options
from cnngen.codegen.graph import Graph
from cnngen.codegen.interpret import outputs
from cnngen.codegen.lower import lower
from cnngen.codegen.node_ops import ProductSoftmax
from cnngen.codegen.passes.fuse_softmax import fuse_softmax
from cnngen.codegen.targets import CPU
from cnngen.codegen.verify import verify

from .networks import Network, network
from .test_networks import SETTINGS
from .texts import before, steps, text

Layer = Mapping[str, Any]

FUSED = Choices(every={"fuse_softmax": 1})
CONV = {"name": "a", "op": "conv2d", "out_channels": 21, "kernel": 3, "padding": 1}
SHARES = {"name": "y", "op": "softmax", "axis": 1}
LINEAR = (
    {"name": "m", "op": "global_avg_pool", "keepdims": False},
    {"name": "a", "op": "linear", "out_features": 10},
)


def segmented(*layers: Layer, **fields: object) -> Network:
    fields = {"shape": (2, 8, 6, 5), "precision": "float16", **fields}
    return network(*(layers or (CONV, SHARES)), **fields)


def fused(drawn: Network) -> Graph:
    return fuse_softmax(before("fuse_softmax", drawn), FUSED)


def test_a_softmax_goes_with_its_convolution() -> None:
    drawn = segmented({**CONV, "activation": "tanh"}, SHARES, outputs=[{"layer": "y", "layout": "NHWC"}])
    assert steps(fused(drawn), without=("x",)) == text("""
        y@output [2, 21, 6, 5] float32 NHWC = productsoftmax<product=conv<padding=(1, 1, 1, 1)>, logits=tanh((acc + a.bias[c]))>(x, a.weight, a.bias)  # a, y
            """)
    (site,) = [site for site in fused(drawn).sites if site.rewrite == "fuse_softmax"]
    assert (site.options, site.chosen) == (("apart", "fused"), "fused")
    assert fuse_softmax(before("fuse_softmax", drawn), Choices()).sites[-1].chosen == "apart"


def test_and_with_its_product() -> None:
    graph = fused(segmented(*LINEAR, {**SHARES, "op": "log_softmax"}))
    node = graph.producers["y@output"]
    assert isinstance(node.op, ProductSoftmax)
    assert node.op.log
    assert node.layers == ("a", "y")


@pytest.mark.parametrize(
    ("layers", "fields"),
    [
        ((CONV, {**SHARES, "axis": 2}), {}),
        ((CONV, SHARES), {"outputs": ["y", "a"]}),
        ((CONV, SHARES, {"name": "z", "op": "add", "inputs": ["y", "a"]}), {}),
        (({**CONV, "out_channels": 300}, SHARES), {}),
        (({**CONV, "groups": 8, "out_channels": 16}, SHARES), {}),
        ((CONV, SHARES), {"precision": "float32"}),
        ((CONV, {"name": "p", "op": "max_pool2d", "kernel": 2}, SHARES), {}),
    ],
    ids=["another axis", "an output", "read twice", "many filters", "groups", "float32", "a step between"],
)  # fmt: skip
def test_what_stays_as_it_is(layers: Sequence[Layer], fields: dict[str, Any]) -> None:
    drawn = segmented(*layers, **fields)
    graph = passes.run(lower(drawn.spec, drawn.weights, 2), FUSED)
    assert not [site for site in graph.sites if site.rewrite == "fuse_softmax"]


def test_a_cpu_has_no_such_kernel() -> None:
    graph = before("fuse_softmax", segmented())
    assert fuse_softmax(graph, FUSED, CPU) is graph


@settings(SETTINGS, max_examples=30)
@given(
    st.sampled_from((2, 7, 16, 21, 128, 200, 256)),
    st.sampled_from((1, 3)),
    st.booleans(),
    st.sampled_from(("softmax", "log_softmax")),
)
def test_it_computes_what_both_do(filters: int, kernel: int, linear: bool, op: str) -> None:
    conv = {**CONV, "out_channels": filters, "kernel": kernel, "padding": kernel // 2}
    product = (LINEAR[0], {**LINEAR[1], "out_features": filters}) if linear else (conv,)
    drawn = segmented(*product, {**SHARES, "op": op})
    given_graph = lower(drawn.spec, drawn.weights, 2)
    graph = passes.run(given_graph, FUSED)
    verify(graph)
    (node,) = [node for node in graph.nodes if isinstance(node.op, ProductSoftmax)]
    tiles = tile_options(node, graph, 2)
    assert tiles
    assert all(tile.n >= filters for tile in tiles)  # type: ignore[attr-defined]
    inputs = drawn.inputs(given_graph)
    for want, got in zip(outputs(given_graph, inputs).values(), outputs(graph, inputs).values(), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)
