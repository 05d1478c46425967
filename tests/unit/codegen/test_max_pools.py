"""fuse_max_pools: which concatenations of pools are one step, and which are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cnngen.codegen.choices import Choices
from cnngen.codegen.node_ops import MaxPools
from cnngen.codegen.passes.fuse_max_pools import fuse_max_pools
from cnngen.codegen.targets import CPU

from .networks import Network, network
from .texts import before, steps, text

FUSED = Choices(every={"fuse_max_pools": 1})


def pool(name: str, kernel: int, x: str, **fields: object) -> Mapping[str, Any]:
    return {
        "name": name,
        "op": "max_pool2d",
        "kernel": kernel,
        "stride": 1,
        "padding": kernel // 2,
        "input": x,
        **fields,
    }


CHAIN = (pool("a", 5, "x"), pool("b", 5, "a"), pool("c", 5, "b"))
SIDE_BY_SIDE = (pool("a", 5, "x"), pool("b", 9, "x"), pool("c", 13, "x"))


def pyramid(*pools: Mapping[str, Any], parts: str = "xabc", **fields: object) -> Network:
    layers = (*pools, {"name": "y", "op": "concat", "inputs": list(parts)}, {"name": "z", "op": "relu"})
    return network(*layers, shape=(1, 16, 8, 8), **fields)


def fused(drawn: Network) -> list[MaxPools]:
    graph = fuse_max_pools(before("fuse_max_pools", drawn), FUSED)
    return [node.op for node in graph.nodes if isinstance(node.op, MaxPools)]


def test_a_chain_is_one_step() -> None:
    graph = fuse_max_pools(before("fuse_max_pools", pyramid(*CHAIN)), FUSED)
    assert steps(graph) == text("""
        y [1, 64, 8, 8] float32 NHWC = maxpools<kernel=5, count=3>(x)  # a, b, c, y
        z [1, 64, 8, 8] float32 NHWC = relu(y[n, c, h, w])  # z
        z@output [1, 64, 8, 8] float32 NCHW = z[n, c, h, w]  # z
        """)


def test_so_are_pools_of_growing_windows() -> None:
    assert fused(pyramid(*SIDE_BY_SIDE)) == [MaxPools(5, 3)]


def test_so_are_pools_of_a_pool() -> None:
    assert fused(pyramid(*CHAIN, parts="abc")) == [MaxPools(5, 2)]


def test_without_a_choice_small_maps_are_fused() -> None:
    graph = before("fuse_max_pools", pyramid(*CHAIN))
    (site,) = fuse_max_pools(graph, Choices()).sites
    assert (site.rewrite, site.options, site.chosen) == ("fuse_max_pools", ("as_written", "fused"), "fused")


@pytest.mark.parametrize(
    "drawn",
    [
        pyramid(*CHAIN, parts="xacb"),
        pyramid(*CHAIN, parts="xaabc"),
        pyramid(CHAIN[0], parts="xa"),
        pyramid(pool("a", 5, "x"), pool("b", 7, "x"), pool("c", 13, "x")),
        pyramid(pool("a", 5, "x"), pool("b", 5, "a", dilation=2, padding=4), pool("c", 5, "b")),
        pyramid(CHAIN[0], {**pool("b", 5, "a"), "op": "avg_pool2d"}, pool("c", 5, "b")),
        pyramid(*CHAIN, outputs=["z", "b"]),
    ],
    ids=["order", "twice", "one pool", "radius", "dilation", "mean", "output"],
)
def test_what_is_no_such_pyramid_stays(drawn: Network) -> None:
    assert fused(drawn) == []


def test_a_pool_that_another_step_reads_stays() -> None:
    layers = (
        *CHAIN,
        {"name": "y", "op": "concat", "inputs": list("xabc")},
        {"name": "other", "op": "relu", "input": "b"},
        {"name": "z", "op": "concat", "inputs": ["y", "other"]},
    )
    assert fused(network(*layers, shape=(1, 16, 8, 8))) == []


def test_the_cpu_keeps_its_pools() -> None:
    graph = before("fuse_max_pools", pyramid(*CHAIN))
    assert fuse_max_pools(graph, FUSED, CPU) == graph
