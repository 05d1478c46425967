# ruff: noqa: E501 (graphs stand here as they are printed)
"""place_splits: channels that are copied apart are read where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cnngen.codegen.choices import Choices
from cnngen.codegen.node_ops import Slice
from cnngen.codegen.passes import run
from cnngen.codegen.passes.assign_buffers import assign_buffers
from cnngen.codegen.passes.place_splits import place_splits
from cnngen.codegen.targets import CPU

from .networks import Network, network
from .texts import before, steps, text

IN_PLACE = Choices(every={"place_splits": 1})
CONV = {"op": "conv2d", "kernel": 3, "padding": 1}
WHOLE = {"name": "whole", **CONV, "out_channels": 32, "input": "x"}


def part(name: str, first: int, last: int, x: str = "whole") -> Mapping[str, Any]:
    return {"name": name, "op": "slice", "axes": [1], "starts": [first], "ends": [last], "input": x}


def reader(name: str, x: str, **fields: object) -> Mapping[str, Any]:
    return {"name": name, **CONV, "out_channels": 8, "input": x, **fields}


def split(*layers: Mapping[str, Any], **fields: object) -> Network:
    return network(*layers, shape=(1, 8, 6, 6), precision="float16", **fields)


HALVES = (WHOLE, part("a", 0, 16), part("b", 16, 32), reader("p", "a"), reader("q", "b"))
SUM = {"name": "y", "op": "add", "inputs": ["p", "q"]}


def test_convolutions_read_the_channels_of_another_one_where_they_lie() -> None:
    graph = place_splits(before("place_splits", split(*HALVES, SUM)), Choices())
    assert text("""
        whole [1, 32, 6, 6] float16 NHWC = conv<padding=(1, 1, 1, 1)>(x, whole.weight) -> acc + whole.bias[c]  form cudnn  # whole
        a [1, 16, 6, 6] float16 NHWC by 32 in whole from 0 = slice(whole)  # a
        b [1, 16, 6, 6] float16 NHWC by 32 in whole from 16 = slice(whole)  # b
        p [1, 8, 6, 6] float16 NHWC = conv<padding=(1, 1, 1, 1)>(a, p.weight) -> acc + p.bias[c]  form cudnn  # p
        """) in steps(graph)
    offsets = assign_buffers(graph).offsets
    assert (offsets["a"], offsets["b"]) == (offsets["whole"], offsets["whole"] + 32)


def test_a_function_of_all_parts_is_the_convolutions() -> None:
    functions = ({"name": f"{name}.relu", "op": "relu", "input": name} for name in "ab")
    layers = (*HALVES[:3], *functions, reader("p", "a.relu"), reader("q", "b.relu"), SUM)
    graph = place_splits(before("place_splits", split(*layers)), Choices())
    assert [node.name for node in graph.nodes if isinstance(node.op, Slice)] == ["a.relu", "b.relu"]
    assert "whole.weight) -> relu((acc + whole.bias[c]))" in steps(graph)


RELU = {"name": "r", "op": "relu", "input": "a"}
SOFTMAX = {"name": "m", "op": "softmax", "axis": 1, "input": "a"}


@pytest.mark.parametrize(
    ("layers", "placed"),
    [
        ((WHOLE, part("a", 0, 12), part("b", 12, 32), reader("p", "a"), reader("q", "b"), SUM), []),
        ((*HALVES[:3], RELU, reader("p", "r"), HALVES[4], SUM), ["b"]),
        ((*HALVES[:3], SOFTMAX, reader("p", "m"), HALVES[4], SUM), ["b"]),
        ((*HALVES, reader("u", "whole"), {**SUM, "name": "v"}, {**SUM, "inputs": ["u", "v"]}), ["a", "b"]),
        ((WHOLE, part("r", 0, 16), reader("y", "r")), ["r"]),
    ],
    ids=["alignment", "two functions", "a softmax reads", "all of it is read", "one part"],
)
def test_which_parts_are_read_in_place(layers: tuple[Mapping[str, Any], ...], placed: list[str]) -> None:
    graph = place_splits(before("place_splits", split(*layers)), IN_PLACE)
    assert [node.name for node in graph.nodes if isinstance(node.op, Slice)] == placed


def test_what_a_library_reads_along_is_copied_where_nothing_is_measured() -> None:
    """As a norm's scale and shift by convolutions that are one."""
    layers = (
        {**WHOLE, "input": "x"},
        part("a", 0, 16),
        part("b", 16, 32),
        reader("p", "x", out_channels=16),
        {"name": "q", "op": "mul", "inputs": ["p", "a"]},
        {"name": "y", "op": "add", "inputs": ["q", "b"]},
    )
    graph = before("place_splits", split(*layers))
    found = [run(graph, choices, begin="place_splits") for choices in (Choices(), IN_PLACE)]
    assert [graph.sites[-1].chosen for graph in found] == ["copied", "in_place"]
    assert "acc + p.bias[c]) * a[n, c, h, w]) + b[n, c, h, w]  form cudnn" in steps(found[1])


def test_the_cpu_keeps_its_copies() -> None:
    graph = before("place_splits", split(*HALVES, SUM))
    assert place_splits(graph, IN_PLACE, CPU) == graph
