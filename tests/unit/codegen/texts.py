"""Graphs as text, before and after a pass."""

from __future__ import annotations

import textwrap

from cnngen.codegen import passes
from cnngen.codegen.choices import Choices
from cnngen.codegen.graph import Graph
from cnngen.codegen.graph_text import dump
from cnngen.codegen.lower import lower

from .networks import Network


def before(name: str, drawn: Network) -> Graph:
    """What the pass of that name is given."""
    graph = lower(drawn.spec, drawn.weights, drawn.spec.batch_sizes[0])
    for known, rewrite in passes.pipeline(Choices()):
        if known == name:
            return graph
        graph = rewrite(graph)
    raise LookupError(name)


def after(name: str, drawn: Network) -> Graph:
    return dict(passes.pipeline(Choices()))[name](before(name, drawn))


def steps(graph: Graph, *, without: tuple[str, ...] = ("x", "y@output")) -> str:
    """The steps' text, without those that only bring the input in and the output out."""
    lines = dump(graph).splitlines()[1:-1]
    kept = [line.strip() for line in lines if not line.startswith(("  input", "  constant"))]
    return "\n".join(line for line in kept if line.split()[0] not in without)


def constants(graph: Graph) -> list[str]:
    return [
        line.strip().removeprefix("constant ")
        for line in dump(graph).splitlines()
        if line.startswith("  constant")
    ]


def text(block: str) -> str:
    return textwrap.dedent(block).strip()


def assert_rewrite(name: str, drawn: Network, given: str, wanted: str) -> None:
    assert steps(before(name, drawn)) == text(given)
    assert steps(after(name, drawn)) == text(wanted)
