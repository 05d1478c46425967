"""Normalisation, products of matrices, softmax and attention."""

from __future__ import annotations

import math

import numpy as np
import torch

from cnngen.spec.importing.draft import Draft, Parameter, RefusalError, short
from cnngen.spec.torch.call import Call, Result, Rule, Value, array, shape_of
from cnngen.spec.torch.export import Tensor
from cnngen.spec.types import Shape


def _epsilon(value: float) -> dict[str, object]:
    return {} if value == 1e-5 else {"epsilon": value}


def _affine(call: Call, shape: Shape, *, always_both: bool = True) -> dict[str, Parameter]:
    """Weight and bias; one that is left out beside the other is 1 or 0."""
    given = {role: call.known(role, f"the {role}") for role in ("weight", "bias")}
    if given["weight"] is None and given["bias"] is None:
        return {}
    result: dict[str, Parameter] = {}
    for role, tensor in given.items():
        if tensor is not None:
            result[role] = call.parameter(role, f"the {role}")
        elif role == "weight" or always_both:
            result[role] = Parameter(np.full(shape, 1 if role == "weight" else 0, np.float32))
    return result


def batch_norm(call: Call) -> Draft:
    """batch_norm with the statistics of the training."""
    x = call.tensor("input")
    if call.get("training") or call.get("running_mean") is None or call.get("running_var") is None:
        raise RefusalError("it takes the statistics of its own input; only eval mode is supported")
    parameters = _affine(call, x.shape[1:2])
    fields = _epsilon(call.real("eps")) | ({} if parameters else {"affine": False})
    for role in ("running_mean", "running_var"):
        parameters[role] = call.parameter(role, f"the {role}")
    return call.draft("batch_norm", [x], fields, parameters)


def native_batch_norm(call: Call) -> Result:
    """The same, with what training would save."""
    return (batch_norm(call), None, None)


def instance_norm(call: Call) -> Draft:
    """instance_norm; with tracked statistics in eval mode it is a batch_norm."""
    if not call.get("use_input_stats"):
        return batch_norm(call)
    x = call.tensor("input")
    parameters = _affine(call, x.shape[1:2])
    fields = _epsilon(call.real("eps")) | ({"affine": True} if parameters else {})
    return call.draft("instance_norm", [x], fields, parameters)


def group_norm(call: Call) -> Draft:
    """group_norm."""
    x = call.tensor("input")
    parameters = _affine(call, x.shape[1:2])
    groups = call.integer("num_groups" if "num_groups" in call.arguments else "group")
    fields = {"groups": groups, **_epsilon(call.real("eps")), **({} if parameters else {"affine": False})}
    return call.draft("group_norm", [x], fields, parameters)


def native_group_norm(call: Call) -> Result:
    """The same, with what training would save."""
    return (group_norm(call), None, None)


def layer_norm(call: Call) -> Draft:
    """layer_norm."""
    shape = tuple(call.integers("normalized_shape"))
    parameters = _affine(call, shape, always_both=False)
    fields = _epsilon(call.real("eps"))
    if len(shape) != 1:
        fields["axis"] = -len(shape)
    if not parameters:
        fields["affine"] = False
    elif "bias" not in parameters:
        fields["bias"] = False
    return call.draft("layer_norm", [call.tensor("input")], fields, parameters)


def native_layer_norm(call: Call) -> Result:
    """The same, with what training would save."""
    return (layer_norm(call), None, None)


def rms_norm(call: Call) -> Draft:
    """rms_norm; its epsilon is the element type's own where none is given."""
    x, shape = call.tensor("input"), call.integers("normalized_shape")
    smallest = float(torch.finfo(getattr(torch, x.dtype)).eps)
    fields = _epsilon(smallest if call.get("eps") is None else call.real("eps"))
    if len(shape) != 1:
        fields["axis"] = -len(shape)
    if call.get("weight") is None:
        return call.draft("rms_norm", [x], fields | {"affine": False})
    return call.draft("rms_norm", [x], fields, {"weight": call.parameter("weight", "the weight")})


def linear(call: Call) -> Draft:
    """Linear."""
    x, weight, bias = call.value("input"), call.value("weight"), call.get("bias")
    if isinstance(x, Draft) and isinstance(weight, Tensor) and weight.data.dim() == 2:
        if isinstance(bias, Draft):
            return call.binary("add", _linear(call, x, call.parameter("weight", "the weight"), None), bias)
        given = None if bias is None else call.parameter("bias", "the bias")
        return _linear(call, x, call.parameter("weight", "the weight"), given)
    turned = {"transpose_b": True} if len(shape_of(weight)) > 1 else {}
    product = call.draft("matmul", [call.layer(x), call.layer(weight)], turned)
    return product if bias is None else call.binary("add", product, call.value("bias"))


def _linear(call: Call, x: Draft, weight: Parameter, bias: Parameter | None) -> Draft:
    """A layer with weights; a vector is a row."""
    fields: dict[str, object] = {"out_features": weight.array.shape[0]}
    parameters = {"weight": weight}
    if bias is None:
        fields["bias"] = False
    else:
        parameters["bias"] = bias
    if len(x.shape) > 1:
        return call.draft("linear", [x], fields, parameters)
    result = call.draft("linear", [call.reshape(x, (1, *x.shape))], fields, parameters)
    return call.reshape(result, result.shape[1:])


def _product(call: Call, a: Value, b: Value) -> Draft:
    """The matrix product; a known matrix on the right is a weight."""
    if isinstance(a, Draft) and isinstance(b, Tensor) and b.data.dim() == 2:
        weight = np.ascontiguousarray(array(b.data).T)
        return _linear(call, a, Parameter(weight), None)
    return call.draft("matmul", [call.layer(a), call.layer(b)])


def matmul(call: Call) -> Draft:
    """matmul, mm, bmm, mv, dot."""
    a, b = list(call.arguments)[:2]
    return _product(call, call.value(a), call.value(b))


def add_matmul(call: Call) -> Draft:
    """addmm, baddbmm, addmv: beta * self + alpha * product."""
    names = list(call.arguments)
    total: Value = _product(call, call.value(names[1]), call.value(names[2]))
    if call.real("alpha") != 1:
        total = call.binary("mul", total, call.number("alpha"), last=False)
    addend = call.value("self")
    if call.real("beta") == 0:
        return call.layer(total)
    if call.real("beta") != 1:
        if isinstance(addend, Tensor):
            addend = Tensor(addend.data * call.real("beta"))
        else:
            addend = call.binary("mul", addend, call.number("beta"), last=False)
    return call.binary("add", total, addend)


def trilinear(call: Call) -> Draft:
    """_trilinear, which bilinear becomes: the sum over some axes of a product of three tensors."""
    factors = []
    for number in ("1", "2", "3"):
        x = call.tensor(f"i{number}")
        shape = list(x.shape)
        for axis in sorted(call.integers(f"expand{number}")):
            shape.insert(axis, 1)
        factors.append(call.reshape(x, tuple(shape)))
    product = call.step("mul", [call.step("mul", factors[:2]), factors[2]])
    return call.draft("reduce_sum", [product], {"axes": call.integers("sumdim"), "keepdims": False})


def softmax(call: Call) -> Draft:
    """softmax, log_softmax."""
    x = call.tensor()
    axis = call.axis("dim", len(x.shape))
    op = "log_softmax" if "log" in call.op else "softmax"
    return call.draft(op, [x], {} if axis == len(x.shape) - 1 else {"axis": axis})


def attention(call: Call) -> Draft:
    """scaled_dot_product_attention: softmax(q k^T * scale + mask) v."""
    q, k, v = (call.tensor(name) for name in ("query", "key", "value"))
    if call.get("enable_gqa"):
        raise RefusalError("enable_gqa is not supported")
    if call.get("dropout_p"):
        raise RefusalError("dropout_p is not 0: it is in training mode")
    scale = 1 / math.sqrt(q.shape[-1]) if call.get("scale") is None else call.real("scale")
    scores = call.step("matmul", [q, k], {"transpose_b": True})
    scores = call.step("mul", [scores], {"value": short(scale)})
    if call.get("is_causal"):
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        scores = call.binary("add", scores, _as_addend(seen), last=False)
    if call.get("attn_mask") is not None:
        scores = _masked(call, scores, call.value("attn_mask"))
    return call.draft("matmul", [call.step("softmax", [scores]), v])


def _masked(call: Call, scores: Draft, mask: Value) -> Draft:
    if isinstance(mask, Tensor):
        addend = _as_addend(mask.data) if mask.data.dtype == torch.bool else mask
        return call.binary("add", scores, addend, last=False)
    if mask.dtype != "bool":
        return call.binary("add", scores, mask, last=False)
    hidden = call.layer(Tensor(torch.full((1,) * len(scores.shape), -math.inf)))
    return call.step("where", [mask, scores, hidden])


def _as_addend(seen: torch.Tensor) -> Tensor:
    """What is added to scores: 0 where a place is seen, else -infinity."""
    return Tensor(torch.zeros(seen.shape).masked_fill(~seen, -math.inf))


def recurrent(call: Call) -> Draft:  # noqa: ARG001 (a rule)
    """Refuses what keeps a state."""
    raise RefusalError("recurrent operators are not supported")


RULES: dict[str, Rule] = {
    "batch_norm": batch_norm,
    "_native_batch_norm_legit_no_training": native_batch_norm,
    "instance_norm": instance_norm,
    "group_norm": group_norm,
    "native_group_norm": native_group_norm,
    "layer_norm": layer_norm,
    "native_layer_norm": native_layer_norm,
    "rms_norm": rms_norm,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), recurrent),
    "linear": linear,
    "matmul": matmul,
    "mm": matmul,
    "bmm": matmul,
    "mv": matmul,
    "dot": matmul,
    "addmm": add_matmul,
    "addmv": add_matmul,
    "baddbmm": add_matmul,
    "_trilinear": trilinear,
    "softmax": softmax,
    "_softmax": softmax,
    "log_softmax": softmax,
    "_log_softmax": softmax,
    "scaled_dot_product_attention": attention,
}
