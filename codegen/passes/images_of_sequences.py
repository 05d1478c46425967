"""One form for 1-d and 2-d: what is done to sequences [N, C, L], channels innermost, is done to images [N, C, 1, L].

A 1-d convolution is lowered as one over images of height 1, between views. Pointwise steps and batch norms beside it
are moved to the same side of these views here, so that what folds and fuses in 2-d does so in 1-d.
"""

from __future__ import annotations

from dataclasses import replace

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Coord, Expr, Int, Load
from cnngen.codegen.graph import Graph, Node, Value, unused
from cnngen.codegen.node_ops import Affine, Pointwise, Reshape


def images_of_sequences(graph: Graph) -> Graph:
    """Each pointwise step and batch norm that writes an NLC value writes an image, of which that value is a view."""
    taken = set(graph.values)
    nodes: dict[str, Node] = {}
    names: dict[str, str] = {}  # a value that has become an image -> the view with its shape
    for original in graph.nodes:
        node = replace(original, inputs=tuple(names.get(name, name) for name in original.inputs))
        before = nodes.get(node.inputs[0]) if isinstance(node.op, Reshape) else None
        if before is not None and _is_view(before):
            node = replace(node, inputs=before.inputs)
        if node.value.layout != "NLC" or not _moves(node, nodes):
            nodes[node.name] = node
            continue
        image, view = _as_image(node, nodes), unused(f"{node.name}.sequence", taken)
        taken.add(view)
        names[node.name] = view
        nodes[image.name] = image
        nodes[view] = Node(replace(node.value, name=view), Reshape(), (image.name,), node.layers)
    return graph.with_nodes(tuple(nodes.values()))


def _is_view(node: Node) -> bool:
    return isinstance(node.op, Reshape) and node.epilogue == ex.ACC


def _moves(node: Node, nodes: dict[str, Node]) -> bool:
    return isinstance(node.op, Pointwise) or (
        isinstance(node.op, Affine) and _image_of(node.inputs[0], node.value, nodes) is not None
    )


def _image_of(name: str, value: Value, nodes: dict[str, Node]) -> str | None:
    """The image of which a value of that shape is a view."""
    view = nodes.get(name)
    if view is None or not _is_view(view) or view.value.shape != value.shape:
        return None
    image = nodes.get(view.inputs[0])
    n, c, length = value.shape
    return image.name if image is not None and image.value.shape == (n, c, 1, length) else None


def _as_image(node: Node, nodes: dict[str, Node]) -> Node:
    n, c, length = node.value.shape
    images = [_image_of(name, node.value, nodes) for name in node.inputs]

    def moved(expr: Expr) -> Expr | None:
        if expr == Coord(2):
            return Coord(3)
        if isinstance(expr, Load) and images[expr.source] is not None:
            return Load(expr.source, (*expr.index[:2], Int(0), expr.index[2]))
        return None

    return replace(
        node,
        value=replace(node.value, shape=(n, c, 1, length), layout="NHWC"),
        inputs=tuple(image or name for image, name in zip(images, node.inputs, strict=True)),
        epilogue=ex.rewrite(node.epilogue, moved),
    )
