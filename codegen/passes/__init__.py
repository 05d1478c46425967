"""The rewrites, in order. Each is a pure function from graph to graph in a file of its name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cnngen.codegen.choices import Choices
from cnngen.codegen.graph import Graph
from cnngen.codegen.passes.channels_first import channels_first
from cnngen.codegen.passes.fold_batch_norm import fold_batch_norm
from cnngen.codegen.passes.fold_channels import fold_channels
from cnngen.codegen.passes.fold_constants import fold_constants
from cnngen.codegen.passes.fold_modulation import fold_modulation
from cnngen.codegen.passes.fuse_bias_only import fuse_bias_only
from cnngen.codegen.passes.fuse_epilogues import fuse_epilogues
from cnngen.codegen.passes.fuse_max_pools import fuse_max_pools
from cnngen.codegen.passes.fuse_softmax import fuse_softmax
from cnngen.codegen.passes.fuse_squeeze_excite import fuse_squeeze_excite
from cnngen.codegen.passes.images_of_sequences import images_of_sequences
from cnngen.codegen.passes.merge_siblings import merge_siblings
from cnngen.codegen.passes.pad_channels import pad_channels
from cnngen.codegen.passes.place_concats import place_concats
from cnngen.codegen.passes.place_splits import place_splits
from cnngen.codegen.passes.reorder import reorder
from cnngen.codegen.passes.select_engines import select_engines
from cnngen.codegen.passes.select_forms import select_forms
from cnngen.codegen.passes.share_subexpressions import share_subexpressions
from cnngen.codegen.passes.store_phases import store_phases
from cnngen.codegen.passes.write_outputs import write_outputs
from cnngen.codegen.targets import CUDA, Target
from cnngen.codegen.verify import verify

Pass = Callable[[Graph], Graph]
FIRST_CHOICE = "reorder"  # what stands before it has nothing to choose


def pipeline(choices: Choices, target: Target = CUDA) -> tuple[tuple[str, Pass], ...]:
    """Every rewrite with its name, in the order in which they run."""
    return (
        # First: what is known now must not look like work to anyone below.
        ("fold_constants", fold_constants),
        # Before what folds into convolutions, or fuses with them: 1-d is then 2-d.
        ("images_of_sequences", images_of_sequences),
        # Before fuse_bias_only, which drops a convolution together with the shift folded into its bias.
        ("fold_batch_norm", fold_batch_norm),
        # After it, which folds a number that is added to a convolution into its bias; before convolutions are merged.
        ("fold_modulation", fold_modulation),
        ("fuse_bias_only", fuse_bias_only),
        # After the folds, which make branches equal that were not; before anything picks forms for each copy.
        ("share_subexpressions", share_subexpressions),
        # Before what folds repeated pixels away, and looks at what reads them.
        ("reorder", partial(reorder, choices=choices, target=target)),
        # Before folding: siblings are recognised by their geometry.
        ("merge_siblings", partial(merge_siblings, choices=choices, target=target)),
        # Before padding, which fills up what is folded; before fusion, which would lose sight of the repeated pixels.
        ("fold_channels", partial(fold_channels, choices=choices, target=target)),
        # After the folds, which put a norm into the weights; before anything picks forms for its two products, and
        # pads them: their channels are few.
        ("fuse_squeeze_excite", partial(fuse_squeeze_excite, choices=choices, target=target)),
        # Before fusion, which would merge concatenations with what reads or writes them.
        ("fuse_max_pools", partial(fuse_max_pools, choices=choices, target=target)),
        # Padding and fusion depend on what runs a step.
        ("select_forms", partial(select_forms, target=target)),
        # Before fusion, so that the padded copy merges with what writes it.
        ("pad_channels", partial(pad_channels, choices=choices, target=target)),
        ("fuse_epilogues", partial(fuse_epilogues, choices=choices, target=target)),
        # After fusion: what a concatenation copies may by then be written by a step of its own.
        ("place_concats", partial(place_concats, choices=choices, target=target)),
        # After it, too: what is copied into a concatenation is no more to be read elsewhere.
        ("place_splits", partial(place_splits, choices=choices, target=target)),
        # After what is written where is known.
        ("store_phases", partial(store_phases, choices=choices, target=target)),
        # After fusion, which puts bias and relu into the convolutions, and after what finds parts of wider pixels.
        ("channels_first", partial(channels_first, choices=choices, target=target)),
        # After fusion, which puts into the product what stands between it and the softmax.
        ("fuse_softmax", partial(fuse_softmax, choices=choices, target=target)),
        # Steps are now what they stay.
        ("select_engines", partial(select_engines, choices=choices)),
        # Last: a step that a library would have run may write the output itself.
        ("write_outputs", write_outputs),
    )


def run(
    graph: Graph,
    choices: Choices | None = None,
    target: Target = CUDA,
    after: Callable[[str, Graph], None] = lambda _name, _graph: None,
    begin: str = "",
    end: str = "",
    verify_each: bool = True,
) -> Graph:
    """The graph after every rewrite; `after` sees each one's result (for --dump and tests).

    `begin`, `end`: the first rewrite, and the first that is left out, where it is not all of them. `verify_each`: after
    every rewrite, so that the one at fault is known; else the result alone, as for the many graphs that tuning makes.
    """
    verify(graph)
    after("lower", graph)
    begun = not begin
    for name, rewrite in pipeline(choices or Choices(), target):
        begun = begun or name == begin
        if name == end:
            break
        if not begun:
            continue
        graph = rewrite(graph)
        if verify_each:
            verify(graph)
        after(name, graph)
    if not verify_each:
        verify(graph)
    return graph
