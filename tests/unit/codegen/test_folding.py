# ruff: noqa: E501 (graphs stand here as they are printed)
"""fold_channels: which convolutions can run on folded pixels, and what becomes of them."""

from __future__ import annotations

import pytest

from cnngen.codegen.choices import Choices
from cnngen.codegen.graph import Graph
from cnngen.codegen.passes.fold_channels import fold_channels
from cnngen.codegen.targets import CPU

from .networks import Network, network
from .texts import before, constants, steps, text

CONV = {"op": "conv2d", "out_channels": 2, "kernel": 3, "padding": 1, "bias": False}
TWICE = {"name": "u", "op": "upsample", "scale": 2}


def folded(drawn: Network, option: int) -> Graph:
    return fold_channels(before("fold_channels", drawn), Choices(every={"fold_channels": option}))


def test_phases_in_one_convolution() -> None:
    drawn = network(TWICE, {"name": "y", **CONV, "bias": True})
    graph = folded(drawn, 1)
    assert steps(graph, without=("x", "u", "y@output")) == text("""
        y.phases [1, 8, 8, 8] float32 NHWC = conv<padding=(1, 1, 1, 1)>(x, y.weight.phases) -> acc + y.bias.phases[c]  # u, y
        y [1, 2, 16, 16] float32 NHWC = y.phases[n, (((((h % 2) * 2) + (w % 2)) * 2) + c), (h / 2), (w / 2)]  # y
        """)
    assert constants(graph) == ["y.weight.phases [8, 3, 3, 3] float32 NHWC", "y.bias.phases [8] float32"]


def test_phases_each_with_the_taps_that_it_needs() -> None:
    graph = folded(network(TWICE, {"name": "y", **CONV}), 2)
    assert steps(graph, without=("x", "u", "y@output")) == text("""
        y.phase0 [1, 2, 8, 8] float32 NHWC = conv<padding=(1, 1, 0, 0)>(x, y.weight.phase0)  # u, y
        y.phase1 [1, 2, 8, 8] float32 NHWC = conv<padding=(1, 0, 0, 1)>(x, y.weight.phase1)  # u, y
        y.phase2 [1, 2, 8, 8] float32 NHWC = conv<padding=(0, 1, 1, 0)>(x, y.weight.phase2)  # u, y
        y.phase3 [1, 2, 8, 8] float32 NHWC = conv<padding=(0, 0, 1, 1)>(x, y.weight.phase3)  # u, y
        y [1, 2, 16, 16] float32 NHWC = select(((h % 2) < 1), select(((w % 2) < 1), y.phase0[n, c, t1, t2], y.phase1[n, c, t1, t2]), select(((w % 2) < 1), y.phase2[n, c, t1, t2], y.phase3[n, c, t1, t2])) where t1 = (h / 2); t2 = (w / 2)  # y
        """)
    assert {name: graph.constants[f"y.weight.{name}"].array.shape for name in ("phase0", "phase3")} == {
        "phase0": (2, 3, 2, 2),
        "phase3": (2, 3, 2, 2),
    }


@pytest.mark.parametrize(("kernel", "taps"), [(2, 2), (3, 3), (5, 3), (7, 5)])
def test_taps_of_all_phases(kernel: int, taps: int) -> None:
    """Of a 5x5's 25 taps 9 remain."""
    graph = folded(network(TWICE, {"name": "y", **CONV, "kernel": kernel, "padding": "same"}), 1)
    assert graph.constants["y.weight.phases"].array.shape == (8, 3, taps, taps)


def test_a_stem_of_stride_2_reads_pairs_of_pixels() -> None:
    """The 7x7 of many networks; an odd size has zeros beyond its end."""
    conv = {**CONV, "kernel": 7, "padding": 3, "stride": 2}
    graph = folded(network({"name": "y", **conv}, shape=(1, 3, 15, 16)), 1)
    assert steps(graph) == text("""
        x.folded [1, 12, 8, 8] float32 NHWC = select((t1 < 15), x[n, (c % 3), t1, ((w * 2) + ((c / 3) % 2))], 0) where t1 = ((h * 2) + (c / 6))  # x
        y [1, 2, 8, 8] float32 NHWC = conv<padding=(2, 2, 1, 1)>(x.folded, y.weight.folded)  # y
        """)
    filters = graph.constants["y.weight.folded"].array
    assert filters.shape == (2, 12, 4, 4)
    assert (filters != 0).sum() == 2 * 3 * 49


WITH_MORE = {**TWICE, "name": "more"}
LINEAR = {"name": "u", "op": "upsample", "scale": 2, "mode": "bilinear"}


@pytest.mark.parametrize(
    "layers",
    [
        ({"name": "y", **CONV},),
        (TWICE, {"name": "y", **CONV, "kernel": 1, "padding": 0}),
        (LINEAR, {"name": "y", **CONV}),
        ({"name": "u", "op": "upsample", "size": [12, 16]}, {"name": "y", **CONV}),
        (TWICE, {"name": "y", **CONV, "stride": 3}),
        (TWICE, {"name": "y", **CONV, "dilation": 2}),
        (TWICE, {"name": "y", **CONV, "out_channels": 3, "groups": 3}),
        ({"name": "wide", **CONV, "out_channels": 8}, {"name": "y", **CONV, "stride": 2}),
    ],
)
def test_what_does_not_fold(layers: tuple[dict[str, object], ...]) -> None:
    assert "fold_channels" not in {site.rewrite for site in folded(network(*layers), 1).sites}


def test_of_pixels_repeated_twice_over_the_later_ones_stay() -> None:
    graph = folded(network(TWICE, WITH_MORE, {"name": "y", **CONV}), 1)
    assert not graph.sites


@pytest.mark.parametrize(("kernel", "chosen"), [(5, "phases"), (3, "as_written")])
def test_what_the_price_prefers(kernel: int, chosen: str) -> None:
    """A 5x5 saves taps; a 3x3 in one saves only the repeated pixels, which here are needed anyway."""
    conv = {**CONV, "out_channels": 64, "kernel": kernel, "padding": "same"}
    drawn = network({**TWICE}, {"name": "y", **conv}, {"name": "z", "op": "relu", "input": "u"},
                    shape=(1, 64, 64, 64), precision="float16", outputs=["y", "z"])  # fmt: skip
    (site,) = fold_channels(before("fold_channels", drawn), Choices()).sites
    assert site.options == ("as_written", "phases", "phases_apart")
    assert site.chosen == chosen


def test_on_a_cpu_nothing_folds() -> None:
    graph = before("fold_channels", network(TWICE, {"name": "y", **CONV}))
    assert fold_channels(graph, Choices(every={"fold_channels": 1}), CPU) == graph
