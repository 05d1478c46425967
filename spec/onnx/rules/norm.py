"""Normalisation."""

from __future__ import annotations

import numpy as np

from cnngen.spec.importing.draft import Draft, Parameter, RefusalError
from cnngen.spec.manifest import Array
from cnngen.spec.onnx.node import Node, axes_within, axis_within
from cnngen.spec.onnx.rules.rule import Result, Rule


def _epsilon(node: Node) -> dict[str, object]:
    epsilon = node.real("epsilon", 1e-5)
    return {} if epsilon == 1e-5 else {"epsilon": epsilon}


def batch_norm(node: Node) -> Draft:
    """BatchNormalization at inference."""
    node.only_first_output()
    if node.flag("training_mode"):
        raise RefusalError("it is in training mode")
    if node.integer("spatial", 1) != 1:
        raise RefusalError("statistics of each element (spatial = 0) are not supported")
    x = node.floats()
    roles = ("weight", "bias", "running_mean", "running_var")
    parameters = {role: node.parameter(k, f"its {role}") for k, role in enumerate(roles, start=1)}
    return node.draft("batch_norm", [x], _epsilon(node), parameters)


def instance_norm(node: Node) -> Draft:
    """InstanceNormalization; without weight and bias where they are 1 and 0."""
    x = node.floats()
    parameters = {"weight": node.parameter(1, "its scale"), "bias": node.parameter(2, "its bias")}
    fields = _epsilon(node)
    if np.all(parameters["weight"].array == 1) and not np.any(parameters["bias"].array):
        return node.draft("instance_norm", [x], fields)
    return node.draft("instance_norm", [x], fields | {"affine": True}, parameters)


def group_norm(node: Node) -> Draft:
    """GroupNormalization; before opset 21 scale and bias are one value a group."""
    x, groups = node.floats(), node.integer("num_groups", 1)
    if groups < 1 or len(x.shape) < 2 or x.shape[1] % groups:
        raise RefusalError(f"{list(x.shape)} cannot be split into {groups} groups of channels")
    parameters = {"weight": node.parameter(1, "its scale"), "bias": node.parameter(2, "its bias")}
    for role, given in parameters.items():
        if given.array.shape == (groups,) and groups != x.shape[1]:
            each = np.repeat(given.array, x.shape[1] // groups)
            parameters[role] = Parameter(each, given.origin)
    return node.draft("group_norm", [x], {"groups": groups} | _epsilon(node), parameters)


def layer_norm(node: Node) -> Result:
    """LayerNormalization, with the means and reciprocal deviations where they are used."""
    x = node.floats()
    axis = axis_within(node.integer("axis", -1), len(x.shape))
    fields = _axis(axis, x) | _epsilon(node)
    parameters = {"weight": _affine(node, 1, x.shape[axis:])}
    if node.value(2) is None:
        fields["bias"] = False
    else:
        parameters["bias"] = _affine(node, 2, x.shape[axis:])
    y = node.draft("layer_norm", [x], fields, parameters)
    if not (node.uses(1) or node.uses(2)):
        return y
    over: dict[str, object] = {"axes": list(range(axis, len(x.shape)))}
    mean = node.draft("reduce_mean", [x], over, named=False)
    centred = node.draft("sub", [x, mean], named=False)
    variance = node.draft(
        "reduce_mean", [node.draft("mul", [centred, centred], named=False)], over, named=False
    )
    shifted = node.binary("add", variance, node.real("epsilon", 1e-5))
    return [y, mean, node.draft("rsqrt", [shifted], named=False)]


def rms_norm(node: Node) -> Draft:
    """RMSNormalization."""
    x = node.floats()
    axis = axis_within(node.integer("axis", -1), len(x.shape))
    weight = _affine(node, 1, x.shape[axis:])
    return node.draft("rms_norm", [x], _axis(axis, x) | _epsilon(node), {"weight": weight})


def _axis(axis: int, x: Draft) -> dict[str, object]:
    return {} if axis == len(x.shape) - 1 else {"axis": axis}


def _affine(node: Node, index: int, shape: tuple[int, ...]) -> Parameter:
    """A weight of the normalised shape; one that broadcasts to it is spread."""
    given = node.parameter(index, "its scale" if index == 1 else "its bias")
    array: Array = given.array
    while array.ndim > len(shape) and array.shape[0] == 1:
        array = array[0]
    if array.shape != shape:
        array = np.ascontiguousarray(np.broadcast_to(array, shape))
    return Parameter(array, given.origin)


def lrn(node: Node) -> Draft:
    """LRN."""
    fields: dict[str, object] = {"size": node.integer("size", 0)}
    for name, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)):
        value = node.real(name, default)
        if value != default:
            fields[name] = value
    return node.draft("lrn", [node.floats()], fields)


def lp_norm(node: Node) -> Draft:
    """LpNormalization."""
    x, p = node.floats(), node.integer("p", 2)
    axis = axis_within(node.integer("axis", -1), len(x.shape))
    return node.draft("lp_norm", [x], _axis(axis, x) | ({"p": float(p)} if p != 2 else {}))


def mean_variance_norm(node: Node) -> Draft:
    """MeanVarianceNormalization: (x - mean) / (deviation + 1e-9)."""
    x = node.floats()
    axes = axes_within(node.integers("axes") or [0, 2, 3], len(x.shape))
    mean = node.draft("reduce_mean", [x], {"axes": axes}, named=False)
    centred = node.draft("sub", [x, mean], named=False)
    square = node.draft("mul", [centred, centred], named=False)
    variance = node.draft("reduce_mean", [square], {"axes": axes}, named=False)
    deviation = node.binary("add", node.draft("sqrt", [variance], named=False), 1e-9)
    return node.draft("div", [centred, deviation])


RULES: dict[str, Rule] = {
    "BatchNormalization": batch_norm,
    "InstanceNormalization": instance_norm,
    "GroupNormalization": group_norm,
    "LayerNormalization": layer_norm,
    "RMSNormalization": rms_norm,
    "LRN": lrn,
    "LpNormalization": lp_norm,
    "MeanVarianceNormalization": mean_variance_norm,
}
