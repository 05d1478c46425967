"""Which forms a network's sites take, and which engine runs each step, by measured times. Nothing here knows a GPU.

A rewrite's sites are turned over together, and the two graphs compared: where they differ in connected pieces, each
piece is a choice of its own, and its steps' times tell which side is faster. What is chosen may open other sites, so
that this is done over until nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cnngen.codegen.choices import Choices
from cnngen.codegen.graph import Graph, Node, Site, step_text
from cnngen.codegen.passes.assign_buffers import is_view
from cnngen.codegen.tuning.journal import Timing

Timings = Mapping[str, Sequence[Timing]]  # by the step's text, fastest first
# Makes the graph of some choices.
Rewrite = Callable[[Choices], Graph]

ROUNDS = 4
# An option wins only by more than this: what two runs on one machine may differ by.
LEAST_GAIN_US, LEAST_GAIN = 0.15, 0.02


@dataclass(frozen=True)
class Piece:
    """Where two graphs differ: the steps of each, which share layers."""

    before: tuple[Node, ...]
    after: tuple[Node, ...]

    @property
    def layers(self) -> frozenset[str]:
        return frozenset(layer for node in (*self.before, *self.after) for layer in node.layers)


def alternatives(base: Graph, choices: Choices, rewrite: Rewrite) -> list[tuple[str, Graph]]:
    """The graphs in which all sites of a rewrite take another option: (rewrite, graph) for each that differs."""
    found: list[tuple[str, Graph]] = []
    known = [base]
    for name in dict.fromkeys(site.rewrite for site in base.sites):
        sites = [site for site in base.sites if site.rewrite == name]
        kept = {key: option for key, option in choices.forms.items() if key[0] != name}
        for number in range(max(len(site.options) for site in sites)):
            graph = rewrite(replace(choices, forms=kept, every={name: number}))
            if all(graph.nodes != other.nodes for other in known):
                known.append(graph)
                found.append((name, graph))
    return found


def pieces(before: Graph, after: Graph) -> list[Piece]:
    """The connected pieces in which two graphs of one network differ."""
    old, new = _steps(before), _steps(after)
    texts = {
        **{("old", name): step_text(node, before) for name, node in old.items()},
        **{("new", name): step_text(node, after) for name, node in new.items()},
    }
    changed = [
        (side, node)
        for side, nodes, other in (("old", old, "new"), ("new", new, "old"))
        for name, node in nodes.items()
        if texts[side, name] != texts.get((other, name))
    ]
    groups: list[tuple[set[str], list[tuple[str, Node]]]] = []
    for side, node in changed:
        layers, members = set(node.layers), [(side, node)]
        apart = []
        for group in groups:
            if group[0] & layers:
                layers |= group[0]
                members = [*group[1], *members]
            else:
                apart.append(group)
        groups = [*apart, (layers, members)]
    return [
        Piece(
            tuple(node for side, node in members if side == "old"),
            tuple(node for side, node in members if side == "new"),
        )
        for _, members in groups
    ]


def improved(
    base: Graph, choices: Choices, others: Sequence[tuple[str, Graph]], timings: Timings
) -> tuple[Choices, Mapping[tuple[str, str], Mapping[str, float]]]:
    """The choices with the better side of each piece, and what was compared: each site's options' microseconds."""
    forms = {site.key: site.chosen for site in base.sites}
    compared: dict[tuple[str, str], dict[str, float]] = {}
    best: dict[tuple[str, str], float] = {}
    for rewrite, graph in others:
        sites = {site.key: site for site in graph.sites if site.rewrite == rewrite}
        for piece in pieces(base, graph):
            before = sum(_time(node, base, timings) for node in piece.before)
            after = sum(_time(node, graph, timings) for node in piece.after)
            for site in base.sites:
                turned = sites.get(site.key)
                if turned is None or turned.chosen == site.chosen or not piece.layers & set(site.layers):
                    continue
                table = compared.setdefault(site.key, {site.chosen: before})
                table[turned.chosen] = after
                gain = before - after
                if gain > max(LEAST_GAIN_US, LEAST_GAIN * before, best.get(site.key, 0.0)):
                    best[site.key] = gain
                    forms[site.key] = turned.chosen
    return replace(choices, forms=forms, every={}), compared


def _time(node: Node, graph: Graph, timings: Timings) -> float:
    return timings[step_text(node, graph)][0].us


def _steps(graph: Graph) -> dict[str, Node]:
    return {node.name: node for node in graph.nodes if not is_view(node)}


def sites_of(graph: Graph) -> Mapping[tuple[str, str], Site]:
    """The sites of a graph by their keys."""
    return {site.key: site for site in graph.sites}
