"""What each ONNX operator is in the spec's words: one function an operator, which refuses what it cannot say.

A rule returns the tensor that the node makes, or an array where that is known at import.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from cnngen.spec.importing.draft import Constant, Draft, Parameter, RefusalError, short
from cnngen.spec.manifest import Array
from cnngen.spec.onnx import movement
from cnngen.spec.onnx.load import element_name
from cnngen.spec.onnx.movement import axes_within
from cnngen.spec.onnx.resize import resize, upsample
from cnngen.spec.onnx.walk import Node, reshape_to

Rule = Callable[[Node], Draft | Array]


def _image(node: Node) -> Draft:
    x = node.tensor()
    if len(x.shape) != 4:
        raise RefusalError(
            f"its input {list(x.shape)} is {len(x.shape) - 2}-D; only 2-D images [N, C, H, W] are supported"
        )
    return x


def _window(node: Node, kernel: list[int]) -> dict[str, object]:
    """Kernel, stride, padding and dilation, where they are not the default."""
    fields: dict[str, object] = {"kernel": kernel}
    stride = node.integers("strides") or [1, 1]
    dilation = node.integers("dilations") or [1, 1]
    if node.op != "Conv" or stride != [1, 1]:
        fields["stride"] = stride
    if dilation != [1, 1]:
        fields["dilation"] = dilation
    auto = node.text("auto_pad", "NOTSET")
    pads = node.integers("pads") or [0, 0, 0, 0]
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        fields["padding"] = "same" if auto == "SAME_UPPER" else "same_lower"
    elif auto == "NOTSET" and any(pads):
        fields["padding"] = pads
    return fields


def conv(node: Node) -> Draft:
    """Conv."""
    x, weight = _image(node), node.parameter(1, "the weight")
    kernel = list(weight.array.shape[2:])
    fields = {"out_channels": weight.array.shape[0], **_window(node, kernel)}
    groups = node.integer("group", 1)
    if groups != 1:
        fields["groups"] = groups
    parameters = {"weight": weight}
    if node.value(2) is None:
        fields["bias"] = False
    else:
        parameters["bias"] = node.parameter(2, "the bias")
    return node.draft("conv2d", [x], fields, parameters)


def gemm(node: Node) -> Draft:
    """Gemm with a constant second matrix."""
    x, weight = node.tensor(), node.parameter(1, "the second matrix")
    if node.integer("transA", 0) or len(x.shape) != 2:
        raise RefusalError("its first matrix is transposed")
    alpha, beta = node.real("alpha", 1.0), node.real("beta", 1.0)
    array = weight.array if node.integer("transB", 0) else weight.array.T
    if alpha != 1.0:
        array = array * np.asarray(alpha, array.dtype)
    same = array is weight.array
    parameters = {"weight": weight if same else Parameter(np.ascontiguousarray(array), weight.origin)}
    fields: dict[str, object] = {"out_features": array.shape[0]}
    if node.value(2) is None or beta == 0.0:
        fields["bias"] = False
    else:
        bias = node.parameter(2, "the bias")
        if bias.array.size not in (1, array.shape[0]) or (bias.array.ndim == 2 and bias.array.shape[0] != 1):
            raise RefusalError(f"its bias {list(bias.array.shape)} differs by row")
        value = np.broadcast_to(bias.array.reshape(-1), (array.shape[0],))
        parameters["bias"] = Parameter(
            np.ascontiguousarray(value if beta == 1.0 else value * np.asarray(beta, value.dtype)), bias.origin
        )
    return node.draft("linear", [x], fields, parameters)


def matmul(node: Node) -> Draft:
    """MatMul with a constant second matrix."""
    if not isinstance(node.value(0), Draft):
        raise RefusalError("only a constant second matrix is supported")
    weight = node.parameter(1, "the second matrix")
    if weight.array.ndim != 2:
        raise RefusalError(f"its second matrix {list(weight.array.shape)} is not 2-D")
    fields: dict[str, object] = {"out_features": weight.array.shape[1], "bias": False}
    transposed = Parameter(np.ascontiguousarray(weight.array.T), weight.origin)
    return node.draft("linear", [node.tensor()], fields, {"weight": transposed})


def max_pool(node: Node) -> Draft:
    """MaxPool without indices."""
    node.only_first_output()
    fields = _window(node, node.integers("kernel_shape") or [])
    if node.integer("ceil_mode", 0):
        fields["ceil_mode"] = True
    return node.draft("max_pool2d", [_image(node)], fields)


def average_pool(node: Node) -> Draft:
    """AveragePool."""
    fields = _window(node, node.integers("kernel_shape") or [])
    if fields.pop("dilation", None):
        raise RefusalError("dilations are not supported")
    for name in ("ceil_mode", "count_include_pad"):
        if node.integer(name, 0):
            fields[name] = True
    return node.draft("avg_pool2d", [_image(node)], fields)


def global_average_pool(node: Node) -> Draft:
    """GlobalAveragePool."""
    return node.draft("global_avg_pool", [_image(node)])


def reduce_mean(node: Node) -> Draft:
    """ReduceMean over height and width."""
    x = node.tensor()
    axes = axes_within(node.integers_of("axes", 1) or [], len(x.shape))
    if len(x.shape) != 4 or axes != [2, 3]:
        raise RefusalError(
            f"only the mean over height and width is supported, not over axes {axes} of {list(x.shape)}"
        )
    return node.draft("global_avg_pool", [x], {} if node.integer("keepdims", 1) else {"keepdims": False})


def batch_norm(node: Node) -> Draft:
    """BatchNormalization at inference."""
    node.only_first_output()
    if node.integer("training_mode", 0):
        raise RefusalError("it is in training mode")
    roles = ("weight", "bias", "running_mean", "running_var")
    parameters = {role: node.parameter(k, f"its {role}") for k, role in enumerate(roles, start=1)}
    epsilon = node.real("epsilon", 1e-5)
    return node.draft(
        "batch_norm", [node.tensor()], {} if epsilon == 1e-5 else {"epsilon": epsilon}, parameters
    )


def _function(op: str, **attributes: float) -> Rule:
    """An activation; `attributes` are ONNX's names (`slope` is `alpha`) with ONNX's defaults."""

    def rule(node: Node) -> Draft:
        names = {"slope": "alpha"}
        fields: dict[str, object] = {
            field: node.real(names.get(field, field), default) for field, default in attributes.items()
        }
        return node.draft(op, [node.tensor()], fields)

    return rule


def gelu(node: Node) -> Draft:
    """Gelu."""
    approximate = node.text("approximate", "none")
    return node.draft("gelu", [node.tensor()], {} if approximate == "none" else {"approximate": approximate})


def clip(node: Node) -> Draft:
    """Clip, by attributes (opset 9) or inputs."""
    bounds: dict[str, object] = {}
    for index, name in enumerate(("min", "max"), start=1):
        given = node.constant(index, name) if len(node.proto.input) > index else None
        bound = float(given) if given is not None else node.real(name, math.inf)
        if abs(bound) < 3.4e38:
            bounds[name] = short(bound)
    if bounds == {"min": 0.0, "max": 6.0}:
        return node.draft("relu6", [node.tensor()])
    if bounds == {"min": 0.0}:
        return node.draft("relu", [node.tensor()])
    return node.draft("clip", [node.tensor()], bounds) if bounds else node.tensor()


def prelu(node: Node) -> Draft:
    """PRelu with a slope a channel, or one."""
    x, slope = node.tensor(), node.parameter(1, "the slope")
    if slope.array.size == 1:
        return node.draft(
            "prelu", [x], {"shared": True}, {"weight": Parameter(slope.array.reshape(1), slope.origin)}
        )
    shape = (1,) * (len(x.shape) - slope.array.ndim) + slope.array.shape
    if [size for axis, size in enumerate(shape) if axis != 1] != [1] * (len(x.shape) - 1) or shape[
        1
    ] != x.shape[1]:
        raise RefusalError(f"its slope {list(slope.array.shape)} is neither one number nor one a channel")
    return node.draft("prelu", [x], {}, {"weight": Parameter(slope.array.reshape(-1), slope.origin)})


def _arithmetic(op: str) -> Rule:
    def rule(node: Node) -> Draft:
        a, b = node.value(0), node.value(1)
        if node.op == "Sum" and len(node.values()) != 2:
            raise RefusalError(f"a sum of {len(node.values())} inputs; only two are supported")
        if isinstance(a, Draft) and isinstance(b, Draft):
            return node.draft(op, [a, b])
        tensor, constant = (a, b) if isinstance(a, Draft) else (b, a)
        if not isinstance(tensor, Draft) or not isinstance(constant, Constant):
            raise RefusalError("an input is missing")
        fields: dict[str, object] = {}
        if tensor is b and op in ("sub", "div"):
            fields["reverse"] = True
        array = constant.array
        if array.size == 1 and array.ndim <= len(tensor.shape):
            return node.draft(op, [tensor], {"value": short(float(array.reshape(())))} | fields)
        while array.ndim and array.shape[0] == 1:
            array = array[0]
        fields["parameter"] = "constant"
        if array.shape != (tensor.shape[1], *(1,) * (len(tensor.shape) - 2)):
            fields["parameter_shape"] = list(array.shape)
        return node.draft(op, [tensor], fields, {"parameter": Parameter(array, constant.origin)})

    return rule


def softmax(node: Node) -> Draft:
    """Softmax; before opset 13 it is over all axes from `axis` on."""
    x = node.tensor()
    rank = len(x.shape)
    axis = axes_within([node.integer("axis", -1 if node.opset >= 13 else 1)], rank)[0]
    rest = math.prod(x.shape[axis + 1 :])
    if node.opset >= 13 or rest == 1:
        return node.draft("softmax", [x], {} if axis == rank - 1 else {"axis": axis})
    flat = reshape_to(node, x, (*x.shape[:axis], x.shape[axis] * rest))
    return reshape_to(node, node.draft("softmax", [flat]), x.shape)


def nothing(node: Node) -> Draft:
    """Identity, and Dropout at inference."""
    if node.op == "Dropout":
        node.only_first_output()
        training = node.constant(2, "training_mode")
        if training is not None and bool(training):
            raise RefusalError("it is in training mode")
    return node.tensor()


def cast(node: Node) -> Draft:
    """Cast to the type that the tensor has."""
    x, target = node.tensor(), element_name(node.integer("to", 1))
    if target != x.dtype:
        raise RefusalError(f"a cast from {x.dtype} to {target} is not supported")
    return x


def erf(node: Node) -> Draft:
    """Erf, which `patterns` makes part of a gelu."""
    x = node.tensor()
    name = node.walk.builder.names.layer(node.proto.name, "erf", None)
    layer = Draft(name, "erf", [x], x.shape, x.dtype, node=node.proto.name)
    node.walk.builder.layers.append(layer)
    return layer


RULES: dict[str, Rule] = {
    "Conv": conv,
    "Gemm": gemm,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "ReduceMean": reduce_mean,
    "BatchNormalization": batch_norm,
    "Relu": _function("relu"),
    "LeakyRelu": _function("leaky_relu", slope=0.01),
    "Sigmoid": _function("sigmoid"),
    "Tanh": _function("tanh"),
    "Elu": _function("elu", alpha=1.0),
    "Softplus": _function("softplus"),
    "HardSigmoid": _function("hard_sigmoid", alpha=0.2, beta=0.5),
    "HardSwish": _function("hard_swish"),
    "Mish": _function("mish"),
    "Gelu": gelu,
    "Erf": erf,
    "Clip": clip,
    "PRelu": prelu,
    "Add": _arithmetic("add"),
    "Sum": _arithmetic("add"),
    "Sub": _arithmetic("sub"),
    "Mul": _arithmetic("mul"),
    "Div": _arithmetic("div"),
    "Concat": movement.concat,
    "Resize": resize,
    "Upsample": upsample,
    "Pad": movement.pad,
    "Flatten": movement.flatten,
    "Reshape": movement.reshape,
    "Squeeze": movement.squeeze,
    "Unsqueeze": movement.unsqueeze,
    "Transpose": movement.transpose,
    "Softmax": softmax,
    "Identity": nothing,
    "Dropout": nothing,
    "Cast": cast,
    "Shape": movement.shape,
    "Size": movement.size,
}
"""Every operator that is imported; further ones are evaluated where their inputs are constant."""
