"""Reductions."""

from __future__ import annotations

from cnngen.spec.importing.draft import Draft
from cnngen.spec.onnx.node import Node, axes_within, axis_within
from cnngen.spec.onnx.rules.rule import Rule

_OPS = {
    "ReduceMean": "reduce_mean",
    "ReduceSum": "reduce_sum",
    "ReduceMax": "reduce_max",
    "ReduceMin": "reduce_min",
    "ReduceProd": "reduce_prod",
    "ReduceL1": "reduce_l1",
    "ReduceL2": "reduce_l2",
    "ReduceSumSquare": "reduce_sum_square",
    "ReduceLogSum": "reduce_log_sum",
    "ReduceLogSumExp": "reduce_log_sum_exp",
}
_GLOBAL = {"ReduceMean": "global_avg_pool", "ReduceMax": "global_max_pool"}
_OF_ONE = {"ReduceL1": "abs", "ReduceL2": "abs", "ReduceLogSum": "log"}


def reduction(node: Node) -> Draft:
    """A reduction along axes; over all of an image it is a global pool."""
    x = node.tensor() if node.op in ("ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd") else node.floats()
    rank, keep = len(x.shape), node.integer("keepdims", 1) != 0
    given = node.integers_of("axes", 1)
    if not given and node.flag("noop_with_empty_axes"):
        return _of_one(node, x)
    axes = sorted(axes_within(given or range(rank), rank)) if not x.scalar else [0]
    fields: dict[str, object] = {} if keep else {"keepdims": False}
    if node.op in _GLOBAL and rank >= 3 and axes == list(range(2, rank)):
        return node.draft(_GLOBAL[node.op], [x], fields)
    layer = node.draft(_OPS[node.op], [x], {"axes": axes} | fields)
    layer.scalar = len(axes) == rank and not keep
    return layer


def _of_one(node: Node, x: Draft) -> Draft:
    """The reduction along no axis."""
    if node.op == "ReduceSumSquare":
        return node.draft("mul", [x, x])
    return node.draft(_OF_ONE[node.op], [x]) if node.op in _OF_ONE else x


def arg_reduction(node: Node) -> Draft:
    """ArgMax and ArgMin."""
    x = node.tensor()
    axis, keep = axis_within(node.integer("axis", 0), len(x.shape)), node.integer("keepdims", 1) != 0
    fields: dict[str, object] = {"axis": axis}
    if not keep:
        fields["keepdims"] = False
    if node.flag("select_last_index"):
        fields["last"] = True
    layer = node.draft(node.op.lower(), [x], fields, dtype="int64")
    layer.scalar = len(x.shape) == 1 and not keep
    return layer


RULES: dict[str, Rule] = {
    **dict.fromkeys(_OPS, reduction),
    **dict.fromkeys(("ArgMax", "ArgMin"), arg_reduction),
}
