# ruff: noqa: E501 (graphs stand here as they are printed)
"""channels_first: which convolutions take channels first, and what turns what they read and write."""

from __future__ import annotations

from typing import Any

import pytest

from cnngen.codegen.choices import Choices
from cnngen.codegen.graph import Graph
from cnngen.codegen.passes import run
from cnngen.codegen.passes.channels_first import channels_first
from cnngen.codegen.targets import CPU

from .networks import Network, network
from .texts import before, steps, text

CONV: dict[str, Any] = {"op": "conv2d", "out_channels": 16, "kernel": 3, "padding": 1}
POOL: dict[str, Any] = {"op": "max_pool2d", "kernel": 2}


def turned(drawn: Network, *names: str) -> Graph:
    """With those convolutions on channels first."""
    return run(
        before("reorder", drawn),
        Choices(forms={("channels_first", name): "first" for name in names}),
        begin="reorder",
    )


def test_between_neighbours_nothing_is_turned() -> None:
    layers = (
        {"name": "a", **CONV, "activation": "relu"},
        {"name": "b", **CONV, "activation": "relu"},
        {"name": "p", **POOL},
    )
    graph = turned(network(*layers, shape=(1, 16, 8, 8)), "a", "b")
    assert graph.values["x"].layout == "NCHW"
    assert steps(graph) == text("""
        a [1, 16, 8, 8] float32 NCHW = conv<padding=(1, 1, 1, 1)>(x, a.weight.kcrs) -> relu((acc + a.bias[c]))  form cudnn  # a
        b [1, 16, 8, 8] float32 NCHW = conv<padding=(1, 1, 1, 1)>(a, b.weight.kcrs) -> relu((acc + b.bias[c]))  form cudnn  # b
        b.nhwc [1, 16, 8, 8] float32 NHWC = b[n, c, h, w]  # b
        p [1, 16, 4, 4] float32 NHWC = pool<kind=max, kernel=(2, 2), stride=(2, 2), padding=(0, 0, 0, 0)>(b.nhwc)  # p
        p@output [1, 16, 4, 4] float32 NCHW = p[n, c, h, w]  # p
        """)


def test_pointwise_steps_turn_what_they_read_and_write() -> None:
    layers = (
        {"name": "p", **POOL},
        {"name": "s", "op": "channel_shuffle", "groups": 4},
        {"name": "a", **CONV},
        {"name": "t", "op": "silu"},
        {"name": "q", **POOL},
    )
    graph = turned(network(*layers, shape=(1, 16, 8, 8)), "a")
    assert steps(graph, without=("x", "p", "q@output")) == text("""
        s [1, 16, 4, 4] float32 NCHW = p[n, (((c % 4) * 4) + (c / 4)), h, w]  # s
        a [1, 16, 4, 4] float32 NCHW = conv<padding=(1, 1, 1, 1)>(s, a.weight.kcrs) -> acc + a.bias[c]  form cudnn  # a
        t [1, 16, 4, 4] float32 NHWC = silu(a[n, c, h, w])  # t
        q [1, 16, 2, 2] float32 NHWC = pool<kind=max, kernel=(2, 2), stride=(2, 2), padding=(0, 0, 0, 0)>(t)  # q
        """)


def test_what_several_read_is_turned_once() -> None:
    layers = ({"name": "p", **POOL}, {"name": "a", **CONV, "stride": 2}, {"name": "b", **CONV, "kernel": 1, "padding": 0, "stride": 2, "input": "p"},
              {"name": "sum", "op": "add", "inputs": ["a", "b"]}, {"name": "q", **POOL, "input": "p"})  # fmt: skip
    graph = turned(
        network(*layers, shape=(1, 16, 8, 8), outputs=[{"layer": "sum"}, {"layer": "q"}]), "a", "b"
    )
    found = steps(graph)
    assert found.count("p.nchw [1, 16, 4, 4] float32 NCHW = p[n, c, h, w]") == 1
    assert "pool<kind=max, kernel=(2, 2), stride=(2, 2), padding=(0, 0, 0, 0)>(p)" in found


@pytest.mark.parametrize(
    ("layer", "fields"),
    [
        (CONV, {"precision": "float16"}),
        (CONV, {"precision": {"storage": "float32", "tf32": True}}),
        ({**CONV, "groups": 4}, {}),
    ],
)
def test_what_tensor_cores_or_kernels_of_our_own_run_stays(
    layer: dict[str, Any], fields: dict[str, Any]
) -> None:
    drawn = network({"name": "a", **layer}, {"name": "p", **POOL}, shape=(1, 16, 8, 8), **fields)
    sites = channels_first(before("channels_first", drawn), Choices()).sites
    assert "channels_first" not in {site.rewrite for site in sites}


def test_a_cpu_has_no_choice_and_a_gpu_takes_it_where_it_was_measured() -> None:
    graph = before(
        "channels_first", network({"name": "a", **CONV}, {"name": "p", **POOL}, shape=(1, 16, 8, 8))
    )
    assert channels_first(graph, Choices(), CPU) is graph
    (site,) = channels_first(graph, Choices()).sites[-1:]
    assert (site.rewrite, site.options, site.chosen) == ("channels_first", ("last", "first"), "last")
