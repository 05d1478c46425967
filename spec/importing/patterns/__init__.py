"""Rewrites of drafted layers to what a person would have written: each says one pattern shorter, and exactly."""

from __future__ import annotations

from cnngen.spec.importing.draft import Imported
from cnngen.spec.importing.patterns.blocks import name_blocks
from cnngen.spec.importing.patterns.folding import add_biases, fold_activations, fold_pads
from cnngen.spec.importing.patterns.functions import name_functions
from cnngen.spec.importing.patterns.graph import Graph
from cnngen.spec.importing.patterns.norms import name_norms
from cnngen.spec.importing.patterns.shapes import fold_layouts, merge_reshapes, merge_slices
from cnngen.spec.importing.patterns.transposes import fold_into_products, keep_batch, move_transposes

__all__ = ["simplify"]

_REWRITES = (
    merge_reshapes,  # first: shape noise stands between the layers of the others
    merge_slices,
    name_blocks,
    move_transposes,  # of models whose channels are last, likewise between others
    keep_batch,
    merge_reshapes,
    fold_into_products,
    name_functions,
    name_norms,
    add_biases,  # before activations, which come after the bias
    fold_pads,
    fold_activations,
    fold_layouts,
)


def simplify(imported: Imported) -> Imported:
    """All rewrites, in order."""
    graph = Graph(imported)
    for rewrite in _REWRITES:
        rewrite(graph)
        graph.prune()
    return graph.imported()
