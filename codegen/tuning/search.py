"""Which forms a network's sites take, and which engine runs each step, by measured times. Nothing here knows a GPU.

A rewrite's sites are turned over together, and the two graphs compared: where they differ in connected pieces, each
piece is a choice of its own, and its steps' times tell which side is faster. What is chosen may open other sites, so
that this is done over until nothing changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cnngen.codegen.choices import Choices
from cnngen.codegen.graph import Graph, Node, Site, is_view
from cnngen.codegen.graph_text import step_text
from cnngen.codegen.tuning.journal import Timing

Timings = Mapping[str, Sequence[Timing]]  # by the step's text, fastest first
# Makes the graph of some choices.
Rewrite = Callable[[Choices], Graph]

ROUNDS = 8
MOST_SINGLE = 24  # of sites in one piece that are turned each alone
# An option wins only by more than this: what two runs on one machine may differ by.
LEAST_GAIN_US, LEAST_GAIN = 0.15, 0.02


@dataclass(frozen=True)
class Piece:
    """Where two graphs differ: the steps of each, connected by layers or by what they make of each other's."""

    before: tuple[Node, ...]
    after: tuple[Node, ...]

    @property
    def layers(self) -> frozenset[str]:
        return frozenset(layer for node in (*self.before, *self.after) for layer in node.layers)


def alternatives(base: Graph, choices: Choices, rewrite: Rewrite) -> list[tuple[str, Graph]]:
    """The graphs in which all sites of a rewrite take another option: (rewrite, graph) for each that differs.

    Where several sites have turned in one piece, also those in which only one of them does.
    """
    found: list[tuple[str, Graph]] = []
    known = [base]

    def add(name: str, changed: Choices) -> Graph | None:
        graph = rewrite(changed)
        if any(graph.nodes == other.nodes for other in known):
            return None
        known.append(graph)
        found.append((name, graph))
        return graph

    for name in dict.fromkeys(site.rewrite for site in base.sites):
        sites = [site for site in base.sites if site.rewrite == name]
        kept = {key: option for key, option in choices.forms.items() if key[0] != name}
        for number in range(max(len(site.options) for site in sites)):
            graph = add(name, replace(choices, forms=kept, every={name: number}))
            if graph is None:
                continue
            chosen = {site.key: site.chosen for site in base.sites}
            for site in _entangled(base, graph, name)[:MOST_SINGLE]:
                add(name, replace(choices, forms={**chosen, site.key: site.chosen}))
    return found


def opened(base: Graph, others: Sequence[Graph], rewrite: Rewrite) -> list[Graph]:
    """The graphs in which sites that only another graph has take another option: timed along, for the next round."""
    known, found = {site.key for site in base.sites}, []
    for graph in others:
        chosen = {site.key: site.chosen for site in graph.sites}
        sites = [site for site in graph.sites if site.key not in known]
        for name in dict.fromkeys(site.rewrite for site in sites):
            own = [site for site in sites if site.rewrite == name]
            for number in range(max(len(site.options) for site in own)):
                turned = {site.key: site.options[min(number, len(site.options) - 1)] for site in own}
                if turned != {site.key: site.chosen for site in own}:
                    found.append(rewrite(Choices(forms={**chosen, **turned})))
    return found


def _entangled(base: Graph, graph: Graph, rewrite: str) -> list[Site]:
    """The sites of a rewrite that turned, and share a piece with another one."""
    turned = [site for site in turned_sites(base, graph) if site.rewrite == rewrite]
    found: dict[tuple[str, str], Site] = {}
    for piece in pieces(base, graph):
        inside = [site for site in turned if piece.layers & set(site.layers)]
        if len(inside) > 1:
            found |= {site.key: site for site in inside}
    return list(found.values())


def turned_sites(base: Graph, graph: Graph) -> list[Site]:
    """The sites of both graphs that another graph has otherwise."""
    chosen = {site.key: site.chosen for site in base.sites}
    return [site for site in graph.sites if site.chosen != chosen.get(site.key, site.chosen)]


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
    made = {side: {node.name for of, node in changed if of == side} for side in ("old", "new")}
    groups: list[tuple[set[tuple[str, str]], list[tuple[str, Node]]]] = []
    for side, node in changed:
        # Connected by a layer, or by a value that another changed step makes.
        marks = {("layer", layer) for layer in node.layers}
        marks |= {(side, name) for name in (node.name, *node.inputs) if name in made[side]}
        members, apart = [(side, node)], []
        for group in groups:
            if group[0] & marks:
                marks |= group[0]
                members = [*group[1], *members]
            else:
                apart.append(group)
        groups = [*apart, (marks, members)]
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
    forms_before = {site.key: site.chosen for site in base.sites}
    times: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
    gains: list[tuple[float, Piece, list[Site]]] = []
    for rewrite, graph in others:
        turned = [site for site in turned_sites(base, graph) if site.rewrite == rewrite]
        for piece in pieces(base, graph):
            inside = [site for site in turned if piece.layers & set(site.layers)]
            before = sum(_time(node, base, timings) for node in piece.before)
            after = sum(_time(node, graph, timings) for node in piece.after)
            if len(inside) == 1:
                times.setdefault(inside[0].key, {})[inside[0].chosen] = before, after
            if inside and before - after > max(LEAST_GAIN_US, LEAST_GAIN * before):
                gains.append((before - after, piece, inside))
    # The largest gains first; what else touches the same layers was timed beside what is no more, and waits.
    forms, changed = {**choices.forms, **forms_before}, set[str]()
    for _, piece, inside in sorted(gains, key=lambda gain: -gain[0]):
        if not piece.layers & changed:
            changed |= piece.layers
            forms |= {site.key: site.chosen for site in inside}
    compared = {key: _comparable(forms_before[key], found) for key, found in times.items()}
    return replace(choices, forms=forms, every={}), compared


def _comparable(chosen: str, times: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Each option's microseconds, of the same steps: those of the option that replaces the most.

    times: by option what it replaces takes, and what it takes itself
    """
    all_steps = max(before for before, _ in times.values())
    found = {chosen: all_steps}
    for option, (before, after) in times.items():
        found[option] = after if before == all_steps else all_steps - before + after
    return found


def _time(node: Node, graph: Graph, timings: Timings) -> float:
    known = timings[step_text(node, graph)]
    return known[0].us if known else math.inf


def _steps(graph: Graph) -> dict[str, Node]:
    return {node.name: node for node in graph.nodes if not is_view(node)}
