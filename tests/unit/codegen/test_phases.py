# ruff: noqa: E501 (graphs stand here as they are printed)
"""store_phases: which interleaving steps a convolution can do itself."""

from __future__ import annotations

from typing import Any

import pytest

from cnngen.codegen.choices import Choices
from cnngen.codegen.graph import Graph
from cnngen.codegen.passes import pipeline
from cnngen.codegen.passes.store_phases import store_phases
from cnngen.codegen.targets import CPU
from cnngen.codegen.verify import verify

from .networks import Network, network
from .texts import before, steps, text

HALF: dict[str, Any] = {"shape": (1, 8, 8, 8), "precision": "float16"}
CONV: dict[str, Any] = {"op": "conv2d", "out_channels": 8, "kernel": 5, "padding": 2}
TWICE: dict[str, Any] = {"name": "u", "op": "upsample", "scale": 2}
LAST: dict[str, Any] = {"name": "y", "op": "max_pool2d", "kernel": 2}


def stored(drawn: Network, target: Any = None) -> Graph:  # noqa: ANN401
    choices = Choices(every={"fold_channels": 1, "store_phases": 1})
    graph = before("reorder", drawn)
    for name, rewrite in pipeline(choices)[[name for name, _ in pipeline(choices)].index("reorder") :]:
        if name == "store_phases" and target is not None:
            return store_phases(graph, choices, target)
        graph = rewrite(graph)
        verify(graph)
    return graph


def test_a_convolution_after_upsampling_stores_its_phases() -> None:
    graph = stored(network(TWICE, {"name": "c", **CONV, "activation": "relu"}, LAST, **HALF))
    assert steps(graph, without=("x", "y", "y@output")) == text("""
        c [1, 8, 16, 16] float16 NHWC = conv<padding=(1, 1, 1, 1), phases=(2, 2)>(x, c.weight.phases) -> relu((acc + c.bias.phase[c]))  form implicit_gemm  # u, c
        """)


def test_a_transposed_convolution_stores_its_phases_with_a_residual() -> None:
    up = {"name": "t", "op": "conv_transpose2d", "out_channels": 8, "kernel": 2, "stride": 2}
    graph = stored(network({"name": "p", "op": "max_pool2d", "kernel": 2}, up,
                           {"name": "s", "op": "add", "inputs": ["t", "x"]}, LAST, **HALF))  # fmt: skip
    assert (
        "s [1, 8, 8, 8] float16 NHWC = conv<phases=(2, 2)>(p, t.weight.phases) -> (acc + t.bias.phase[c]) + x[n, c, h, w]  form implicit_gemm"
        in steps(graph)
    )


@pytest.mark.parametrize(
    ("layers", "fields"),
    [
        ((TWICE, {"name": "c", **CONV}, LAST), {"precision": "float32"}),  # the kernel is for 16 bits
        ((TWICE, {"name": "c", **CONV}, LAST), {"shape": (1, 4, 8, 8)}),  # and for channels in groups of 16 bytes
        ((TWICE, {"name": "c", **CONV}, {"name": "y", "op": "conv_transpose2d", "out_channels": 8, "kernel": 3, "stride": 2, "padding": 1}), {}),
    ],
)  # fmt: skip
def test_what_stays_apart(layers: tuple[dict[str, Any], ...], fields: dict[str, Any]) -> None:
    sites = [
        site.layer
        for site in stored(network(*layers, **{**HALF, **fields})).sites
        if site.rewrite == "store_phases"
    ]
    assert sites == (["c"] if not fields else [])


def test_only_a_measurement_takes_it() -> None:
    """The kernel needs a GPU that a plan without a lock may not have."""
    up = {"name": "t", "op": "conv_transpose2d", "out_channels": 8, "kernel": 2, "stride": 2}
    drawn = network(up, LAST, **HALF)
    (site,) = store_phases(before("store_phases", drawn), Choices()).sites[-1:]
    assert (site.rewrite, site.options, site.chosen) == ("store_phases", ("apart", "stored"), "apart")


def test_on_a_cpu_they_stay_apart() -> None:
    assert "phases=" not in steps(stored(network(TWICE, {"name": "c", **CONV}, LAST, **HALF), CPU))
