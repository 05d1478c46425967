# ruff: noqa: E501 (graphs stand here as they are printed)
"""place_concats: whose channels are written where they belong, and what is still copied."""

from __future__ import annotations

from typing import Any

import pytest

from cnngen.codegen import passes
from cnngen.codegen.choices import Choices
from cnngen.codegen.emit.steps import network_view
from cnngen.codegen.graph import Graph
from cnngen.codegen.passes.assign_buffers import assign_buffers
from cnngen.codegen.passes.place_concats import place_concats
from cnngen.codegen.plan import make_plan
from cnngen.codegen.targets import CPU
from cnngen.codegen.verify import verify

from .networks import Network, network
from .texts import before, steps, text

CONV: dict[str, Any] = {"op": "conv2d", "out_channels": 8, "kernel": 3, "padding": 1, "bias": False}
HALF: dict[str, Any] = {"shape": (1, 8, 8, 8), "precision": "float16"}
JOINED = Choices(every={"place_concats": 1})


def joined(drawn: Network) -> Graph:
    graph = place_concats(before("place_concats", drawn), JOINED)
    verify(graph)
    return graph


def after_skip(*layers: dict[str, Any], **fields: object) -> Network:
    """Convolutions `skip` and, behind it, `deep`; then the layers."""
    skip, deep = {"name": "skip", **CONV}, {"name": "deep", **CONV}
    return network(skip, deep, *layers, {"name": "y", **CONV}, **{**HALF, **fields})


BOTH = {"name": "both", "op": "concat", "inputs": ["skip", "deep"]}


def test_two_convolutions_write_their_channels() -> None:
    graph = joined(after_skip(BOTH))
    assert steps(graph) == text("""
        skip [1, 8, 8, 8] float16 NHWC by 16 in both from 0 = conv<padding=(1, 1, 1, 1)>(x, skip.weight)  form cudnn  # skip
        deep [1, 8, 8, 8] float16 NHWC by 16 in both from 8 = conv<padding=(1, 1, 1, 1)>(skip, deep.weight)  form cudnn  # deep
        both [1, 16, 8, 8] float16 NHWC = join(skip, deep)  # both
        y [1, 8, 8, 8] float16 NHWC = conv<padding=(1, 1, 1, 1)>(both, y.weight)  form cudnn  # y
        """)


def test_what_is_computed_by_the_way_is_a_step_for_its_channels_alone() -> None:
    """UNet: what is upsampled is written beside the skip."""
    graph = joined(after_skip({"name": "down", "op": "max_pool2d", "kernel": 2}, {"name": "up", "op": "upsample", "scale": 2},
                              {**BOTH, "inputs": ["skip", "up"]}))  # fmt: skip
    assert steps(graph, without=("x", "y", "deep", "down", "y@output")) == text("""
        skip [1, 8, 8, 8] float16 NHWC by 16 in both from 0 = conv<padding=(1, 1, 1, 1)>(x, skip.weight)  form cudnn  # skip
        both.part [1, 8, 8, 8] float16 NHWC by 16 in both from 8 = down[n, c, (h / 2), (w / 2)]  # up, both
        both [1, 16, 8, 8] float16 NHWC = join(skip, both.part)  # up, both
        """)


def test_neighbours_that_are_copied_are_one_step() -> None:
    graph = joined(after_skip({"name": "a", "op": "softmax", "axis": 1, "input": "skip"},
                              {"name": "b", "op": "softmax", "axis": 1},
                              {**BOTH, "inputs": ["a", "b", "deep"]}))  # fmt: skip
    assert (
        "both.part [1, 16, 8, 8] float16 NHWC by 24 in both from 0 = select((c < 8), a[n, c, h, w], b[n, (c + -8), h, w])"
        in steps(graph)
    )


@pytest.mark.parametrize(
    ("layers", "fields"),
    [
        (({**BOTH, "inputs": ["skip", "skip"]},), {}),  # twice
        (({**BOTH, "axis": 2}, {"name": "n", "op": "relu"}), {}),
        (({"name": "odd", **CONV, "out_channels": 4}, {**BOTH, "inputs": ["odd", "deep"]}), {}),
    ],
)
def test_what_has_to_be_copied(layers: tuple[dict[str, Any], ...], fields: dict[str, Any]) -> None:
    graph = joined(after_skip(*layers, **fields))
    placed = [node.name for node in graph.nodes if node.value.host]
    assert [name for name in placed if name != "deep" and not name.startswith("both.part")] == []


def test_who_reads_a_part_beside_the_concatenation_must_be_able_to() -> None:
    """A softmax reads pixels that lie side by side."""
    normed = {"name": "p", "op": "softmax", "axis": 1, "input": "skip"}
    graph = joined(after_skip(normed, {**BOTH, "inputs": ["skip", "p"]}))
    assert not [node.name for node in graph.nodes if node.value.host]


def test_pools_and_depthwise_convolutions_read_and_write_parts() -> None:
    pooled = {"name": "p", "op": "max_pool2d", "kernel": 3, "stride": 1, "padding": 1, "input": "skip"}
    depthwise = {"name": "d", **CONV, "groups": 8, "input": "skip"}
    graph = joined(after_skip(pooled, depthwise, {**BOTH, "inputs": ["skip", "p", "d"]}))
    assert [node.name for node in graph.nodes if node.value.host] == ["skip", "p", "d"]


GROWN = {**CONV, "out_channels": 8}


@pytest.mark.parametrize("chained", [True, False], ids=["of the last and one more", "of all"])
def test_concatenations_that_grow_lie_in_the_last_one(chained: bool) -> None:
    """The first part, too, which is added to the block's end."""
    second = ["one", "b"] if chained else ["skip", "a", "b"]
    graph = joined(network(
        {"name": "skip", **CONV},
        {"name": "a", **GROWN},
        {"name": "one", "op": "concat", "inputs": ["skip", "a"]},
        {"name": "b", **GROWN},
        {"name": "two", "op": "concat", "inputs": second},
        {"name": "end", **CONV},
        {"name": "y", "op": "add", "inputs": ["end", "skip"]},
        **HALF,
    ))  # fmt: skip
    assert steps(graph) == text("""
        skip [1, 8, 8, 8] float16 NHWC by 24 in two from 0 = conv<padding=(1, 1, 1, 1)>(x, skip.weight)  form cudnn  # skip
        a [1, 8, 8, 8] float16 NHWC by 24 in two from 8 = conv<padding=(1, 1, 1, 1)>(skip, a.weight)  form cudnn  # a
        one [1, 16, 8, 8] float16 NHWC by 24 in two from 0 = join(skip, a)  # one
        b [1, 8, 8, 8] float16 NHWC by 24 in two from 16 = conv<padding=(1, 1, 1, 1)>(one, b.weight)  form cudnn  # b
        two [1, 24, 8, 8] float16 NHWC = join(one, b)  # two
        y [1, 8, 8, 8] float16 NHWC = conv<padding=(1, 1, 1, 1)>(two, end.weight) -> acc + skip[n, c, h, w]  form cudnn  # end, y
        """)
    offsets = assign_buffers(graph).offsets
    assert offsets["one"] == offsets["two"] == offsets["skip"]
    assert offsets["b"] == offsets["two"] + 32


def test_two_that_begin_alike_are_not_both_in_one_buffer() -> None:
    graph = joined(after_skip(
        BOTH,
        {"name": "m", **GROWN, "input": "both"},
        {"name": "n", **GROWN, "input": "both"},
        {"name": "left", "op": "concat", "inputs": ["skip", "deep", "m"]},
        {"name": "right", "op": "concat", "inputs": ["skip", "deep", "n"]},
        {"name": "p", **CONV, "input": "left"},
        {"name": "q", **CONV, "input": "right"},
        {"name": "sum", "op": "add", "inputs": ["p", "q"]},
    ))  # fmt: skip
    assert graph.values["both"].host == "left"
    assert (
        "right.part [1, 16, 8, 8] float16 NHWC by 24 in right from 0 = select((c < 8), skip[n, c, h, w]"
        in steps(graph)
    )


def test_parts_lie_in_their_host_as_long_as_they_are_needed() -> None:
    graph = joined(after_skip(BOTH))
    arena = assign_buffers(graph)
    assert arena.offsets["skip"] == arena.offsets["both"]
    assert arena.offsets["deep"] == arena.offsets["both"] + 16
    (buffer,) = (buffer for buffer in arena.buffers if "both" in buffer.values)
    names = [node.name for node in graph.nodes]
    assert (buffer.first, buffer.last) == (names.index("skip"), names.index("y"))


def test_copied_unless_that_is_measured_where_a_library_writes() -> None:
    """Few of its engines write pixels apart; kernels of our own do it as well."""
    more = [{"name": "s", "op": "sin", "input": "x"}, {"name": "c", **CONV}]
    convolutions = after_skip(BOTH)
    kernels = after_skip(*more, {**BOTH, "inputs": ["s", "x"]}, outputs=["y", "c"])
    (site,) = [site for site in passes.run(_lowered(convolutions)).sites if site.rewrite == "place_concats"]
    assert (site.options, site.chosen) == (("copied", "in_place"), "copied")
    (site,) = [site for site in passes.run(_lowered(kernels)).sites if site.rewrite == "place_concats"]
    assert site.chosen == "in_place"


def test_the_text_names_pitches() -> None:
    drawn = after_skip({"name": "up", "op": "upsample", "scale": 1}, BOTH)
    view = network_view(make_plan(drawn.spec, drawn.weights, choices=lambda _profile, _batch: JOINED))
    lines = "\n".join(line for step in view.steps for variant in step.variants for line in variant.lines)
    assert "nhwc(pass.at(at::skip), DType::float16, pass.batch(), 8, 8, 8, 16)" in lines


def test_on_a_cpu_all_is_copied() -> None:
    graph = before("place_concats", after_skip(BOTH))
    assert place_concats(graph, JOINED, CPU) == graph


def _lowered(drawn: Network) -> Graph:
    from cnngen.codegen.lower import lower

    return lower(drawn.spec, drawn.weights, 1)
