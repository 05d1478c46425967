"""What maps each pixel by itself runs before what repeats the pixels: it has fewer of them then.

An activation that moves joins the step that writes the small image; a 1x1 convolution that moves does a quarter of the
work before an upsampling by two. Behind it stands a step that repeats, for others to read through.
"""

from __future__ import annotations

from dataclasses import replace

from cnngen.codegen import expr as ex
from cnngen.codegen.choices import Choices
from cnngen.codegen.expr import Coord, Expr, Load
from cnngen.codegen.graph import Graph, Node, Value
from cnngen.codegen.node_ops import Affine, Conv, Pointwise
from cnngen.codegen.rewriting import Draft, all_layers, is_by_channel, problem_of, repeats
from cnngen.codegen.targets import CUDA, Target

PIXELS: tuple[Expr, ...] = (Coord(2), Coord(3))
AS_WRITTEN, BEFORE = "as_written", "before_upsampling"


def reorder(graph: Graph, choices: Choices, target: Target = CUDA) -> Graph:
    """Each step of single pixels, and each 1x1 convolution for which that is cheaper, before the repetition."""
    if not target.pads_channels:
        return graph
    draft = Draft(graph, choices)
    for node in graph.nodes:
        _place(draft, node)
    return draft.result()


def _place(draft: Draft, node: Node) -> None:
    writer = _repetition(draft, node)
    if writer is None or not _pays(draft, node, writer):
        draft.add(node)
        return
    source = draft.values[writer.inputs[0]]
    shape = (*node.value.shape[:2], *source.shape[2:])
    small = replace(
        node,
        value=replace(node.value, name=draft.fresh(f"{node.name}.small"), shape=shape),
        inputs=tuple(source.name if name == writer.name else name for name in node.inputs),
    )
    _place(draft, small)  # what repeated may have read what others repeat
    draft.add(replace(writer, value=node.value, inputs=(small.name,), layers=all_layers([writer, node])))


def _repetition(draft: Draft, node: Node) -> Node | None:
    """The step that repeats the pixels which a step maps each by itself."""
    match node.op:
        case Conv(stride=(1, 1), padding=(0, 0, 0, 0), groups=1) if (
            node.inputs[1] in draft.constants
            and draft.values[node.inputs[1]].shape[2:] == (1, 1)
            and is_by_channel(node, draft.constants)
        ):
            operand = node.inputs[0]
        case Affine() if is_by_channel(node, draft.constants):
            operand = node.inputs[0]
        case Pointwise() if found := _mapped(draft, node):
            operand = found
        case _:
            return None
    writer = draft.producers.get(operand)
    if writer is None or repeats(draft.values, writer) is None or writer.value.dtype != node.value.dtype:
        return None
    return writer if node.value.layout == "NHWC" else None


def _mapped(draft: Draft, node: Node) -> str | None:
    """The value that a pointwise step maps pixel by pixel, with the channel and constants by channel."""
    names = [name for name in node.inputs if name not in draft.constants]
    if len(names) != 1 or draft.values[names[0]].shape != node.value.shape:
        return None
    if isinstance(node.epilogue, Load):
        return None  # it moves only
    here = ex.coords(4)
    for load in ex.loads(node.epilogue):
        own = node.inputs[load.source] == names[0]
        if load.index != (here if own else (Coord(1),)):
            return None
    # The coordinates of the loads themselves are not among these.
    bare = ex.rewrite(node.epilogue, lambda e: ex.Float(0.0) if isinstance(e, Load) else None)
    return None if any(e in PIXELS for e in ex.walk(bare)) else names[0]


def _pays(draft: Draft, node: Node, writer: Node) -> bool:
    """A step of single pixels where nobody else needs them repeated; a convolution by its price."""
    alone = draft.graph.sole_consumer(writer.name) is not None
    if not isinstance(node.op, Conv):
        return alone
    cost, weight, source = draft.choices.cost, draft.constants[node.inputs[1]], draft.values[writer.inputs[0]]
    small: Value = replace(node.value, shape=(*node.value.shape[:2], *source.shape[2:]))
    prices = {
        AS_WRITTEN: cost.convolution(problem_of(writer.value, node.value, weight, node.op))
        + (cost.move(source.bytes + writer.value.bytes) if alone else 0.0),
        BEFORE: cost.convolution(problem_of(source, small, weight, node.op))
        + cost.move(small.bytes + node.value.bytes),
    }
    return draft.choose("reorder", node, prices) == BEFORE
