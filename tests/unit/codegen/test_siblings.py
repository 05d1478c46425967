# ruff: noqa: E501 (graphs stand here as they are printed)
"""merge_siblings: which convolutions become one, and who then reads what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnngen.codegen import passes
from cnngen.codegen.choices import Choices
from cnngen.codegen.graph import Graph
from cnngen.codegen.passes.merge_siblings import merge_siblings
from cnngen.codegen.targets import CPU

from .networks import Network, network
from .texts import before, constants, steps, text

CONV: dict[str, Any] = {"op": "conv2d", "out_channels": 3, "kernel": 3, "padding": 1, "input": "x"}


def merged(drawn: Network) -> Graph:
    return merge_siblings(before("merge_siblings", drawn), Choices(every={"merge_siblings": 1}))


def test_gamma_and_beta_are_one_convolution() -> None:
    """SPADE: the modulation reads both where they lie."""
    drawn = network({"name": "gamma", **CONV}, {"name": "beta", **CONV}, {"name": "one", "op": "add", "input": "gamma", "value": 1},
                    {"name": "m", "op": "mul", "inputs": ["x", "one"]}, {"name": "y", "op": "add", "inputs": ["m", "beta"]})  # fmt: skip
    graph = merged(drawn)
    assert (
        steps(graph).splitlines()[:3]
        == text("""
        beta.siblings [1, 6, 8, 8] float32 NHWC = conv<padding=(1, 1, 1, 1)>(x, beta.weight.siblings) -> acc + beta.bias.siblings[c]  # beta, gamma, one
        beta [1, 3, 8, 8] float32 NHWC = beta.siblings[n, c, h, w]  # beta
        one [1, 3, 8, 8] float32 NHWC = beta.siblings[n, (c + 3), h, w]  # gamma, one
        """).splitlines()
    )
    assert constants(graph) == [
        "beta.weight.siblings [6, 3, 3, 3] float32 NHWC",
        "beta.bias.siblings [6] float32",
    ]
    weights = [drawn.weights[f"{name}.weight"] for name in ("beta", "gamma")]
    assert np.array_equal(graph.constants["beta.weight.siblings"].array, np.concatenate(weights))
    fused = passes.run(graph, begin="fold_channels", end="select_engines")
    last = steps(fused, without=("x",)).splitlines()[-1]
    assert "(x[n, c, h, w] * beta.siblings[n, (c + 3), h, w]) + beta.siblings[n, c, h, w]" in last


def test_more_than_two_of_several_sizes() -> None:
    names = ["a", "b", "c"]
    convs = [{**CONV, "name": name, "out_channels": k} for name, k in zip(names, (2, 1, 4), strict=True)]
    graph = merged(network(*convs, {"name": "y", "op": "concat", "inputs": names}))
    assert "a.siblings [1, 7, 8, 8]" in steps(graph)
    assert "c [1, 4, 8, 8] float32 NHWC = a.siblings[n, (c + 3), h, w]" in steps(graph)


@pytest.mark.parametrize(
    "second",
    [
        {**CONV, "kernel": 1, "padding": 0},
        {**CONV, "stride": 2},
        {**CONV, "padding": 2, "dilation": 2},
        {**CONV, "out_channels": 3, "groups": 3},
        {**CONV, "bias": False},
        {**CONV, "input": "a"},
    ],
)
def test_of_another_geometry_they_stay_apart(second: dict[str, Any]) -> None:
    drawn = network({"name": "a", **CONV}, {"name": "y", **second}, outputs=["a", "y"])
    assert not merged(drawn).sites


def test_two_pairs_of_one_input_are_two_sites() -> None:
    wide = {**CONV, "kernel": 5, "padding": 2}
    convs = [{"name": name, **conv} for name, conv in (("a", CONV), ("b", wide), ("c", CONV), ("d", wide))]
    graph = merged(network(*convs, {"name": "y", "op": "concat", "inputs": ["a", "b", "c", "d"]}))
    assert [site.layer for site in graph.sites] == ["a", "b"]


@pytest.mark.parametrize(("reader", "chosen"), [("relu", "merged"), ("max_pool2d", "apart")])
def test_the_price_counts_copies_for_those_that_cannot_read_in_place(reader: str, chosen: str) -> None:
    kernel = {"kernel": 2} if reader == "max_pool2d" else {}
    layers = [{"name": name, **CONV, "out_channels": 64} for name in ("a", "b")]
    more = [{"name": f"{name}2", "op": reader, "input": name, **kernel} for name in ("a", "b")]
    drawn = network(*layers, *more, shape=(1, 64, 128, 128), precision="float16", outputs=["a2", "b2"])
    (site,) = merge_siblings(before("merge_siblings", drawn), Choices()).sites
    assert site.chosen == chosen


def test_on_a_cpu_they_stay_apart() -> None:
    graph = before(
        "merge_siblings", network({"name": "a", **CONV}, {"name": "b", **CONV}, outputs=["a", "b"])
    )
    assert merge_siblings(graph, Choices(), CPU) == graph
