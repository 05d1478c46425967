"""What is chosen where several forms compute the same: what a lock has measured, else what an analytic cost prefers.

A pass asks `Choices.site` at every place where it could do one thing or another, and the graph keeps the answer, so
that the tuner knows what stood open. An option's name is what the lock and `cnngen explain` show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cnngen.codegen.cost import Cost, Roofline
from cnngen.codegen.graph import Node, Site


@dataclass(frozen=True)
class Choices:
    """The answers for one plan.

    forms:   (rewrite, layer) -> option, as a lock has them
    every:   rewrite -> the number of the option that its other sites take; how the tuner sees all of them at once
    engines: a step's name -> the engine or tile that runs it (see `cnngen.codegen.engines`), and the digest of the step
             that it was chosen for
    beside:  branches that run on streams of their own (see `cnngen.codegen.passes.plan_streams`)
    """

    forms: Mapping[tuple[str, str], str] = field(default_factory=dict)
    every: Mapping[str, int] = field(default_factory=dict)
    engines: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    beside: frozenset[str] = frozenset()
    cost: Cost = field(default_factory=Roofline)

    def site(self, rewrite: str, node: Node, prices: Mapping[str, float]) -> Site:
        """The choice about a node among options, by their analytic prices (microseconds): the first of the cheapest."""
        options = tuple(prices)
        wanted = self.forms.get((rewrite, node.name))
        if wanted is None or wanted not in prices:
            number = self.every.get(rewrite)
            cheapest = min(options, key=lambda option: prices[option])
            wanted = cheapest if number is None else options[min(number, len(options) - 1)]
        return Site(rewrite, node.name, node.layers, options, wanted)
