"""Evaluates nodes whose inputs are all known, by ONNX's reference implementation, where the result stays small."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from cnngen.spec.importing.draft import RefusalError
from cnngen.spec.manifest import Array

_LARGEST = 1 << 27  # elements of a constant that is larger than what it is made of


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# the output is no larger than all inputs together
_NO_LARGER = _words("""
    Abs Acos Acosh ArgMax ArgMin Asin Asinh Atan Atanh BitwiseNot Cast CastLike Ceil Celu Clip Concat Cos Cosh CumSum
    DequantizeLinear Elu Erf Exp Flatten Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log LogSoftmax
    Mish Neg NonZero Not Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
    ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round Selu Shape Sigmoid Sign Sin Sinh Size Slice Softmax
    Softplus Softsign Sqrt Squeeze Tan Tanh ThresholdedRelu Transpose Trilu Unsqueeze
""")
# the reference goes through them element by element: only what is small is evaluated
_SLOW = _words("Compress GatherND ScatterElements ScatterND Unique")
_MOST_SLOW = 1 << 12
_BROADCAST = _words("""
    Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min
    Mod Mul Or PRelu Pow Sub Sum Where Xor
""")


def _numbers(array: Array) -> list[float]:
    if array.size > 64 or array.dtype.kind not in "iuf":
        raise RefusalError("its inputs are not those of the operator")
    return [abs(float(number)) for number in array.reshape(-1)]


def _range(_: onnx.NodeProto, arrays: Sequence[Array]) -> float:
    start, limit, step = (float(array.reshape(-1)[0]) for array in arrays)
    return float(abs(limit - start) / max(abs(step), 1e-30))


def _grown(_: onnx.NodeProto, arrays: Sequence[Array]) -> float:
    return max(arrays[0].size, 1) * math.prod(max(number, 1.0) for number in _numbers(arrays[1]))


def _padded(node: onnx.NodeProto, arrays: Sequence[Array]) -> float:
    given = next(([float(i) for i in a.ints] for a in node.attribute if a.name == "pads"), None)
    return max(arrays[0].size, 1) * math.prod(
        1.0 + abs(pad) for pad in (given if given is not None else _numbers(arrays[1]))
    )


def _gathered(node: onnx.NodeProto, arrays: Sequence[Array]) -> float:
    axis = next((int(a.i) for a in node.attribute if a.name == "axis"), 0)
    return float(arrays[0].size) / float(max(arrays[0].shape[axis], 1)) * float(arrays[1].size)


def _multiplied(_: onnx.NodeProto, arrays: Sequence[Array]) -> float:
    rows = arrays[1].shape[0] if arrays[1].ndim else 1
    return float(arrays[0].size) * arrays[1].size / max(rows, 1)


def _no_larger(_: onnx.NodeProto, __: Sequence[Array]) -> float:
    return 0.0


def _split(node: onnx.NodeProto, arrays: Sequence[Array]) -> float:
    given = next((float(a.i) for a in node.attribute if a.name == "num_outputs"), 0.0)
    return given if arrays[0].size else math.inf


def _slow(_: onnx.NodeProto, arrays: Sequence[Array]) -> float:
    return 0.0 if sum(array.size for array in arrays) <= _MOST_SLOW else math.inf


def _broadcast(_: onnx.NodeProto, arrays: Sequence[Array]) -> float:
    rank = max(array.ndim for array in arrays)
    shapes = [(1,) * (rank - array.ndim) + array.shape for array in arrays]
    elements = math.prod(float(max(sizes)) for sizes in zip(*shapes, strict=True))
    return elements if elements > max(array.size for array in arrays) else 0.0


def _constant(node: onnx.NodeProto, _: Sequence[Array]) -> float:
    for attribute in node.attribute:
        if attribute.name == "sparse_value":
            return math.prod(float(max(size, 1)) for size in attribute.sparse_tensor.dims)
    return 0.0


def _filled(_: onnx.NodeProto, arrays: Sequence[Array]) -> float:
    return math.prod(_numbers(arrays[0]))


_SIZES: dict[str, Callable[[onnx.NodeProto, Sequence[Array]], float]] = {
    **dict.fromkeys(_NO_LARGER, _no_larger),
    **dict.fromkeys(_SLOW, _slow),
    "Split": _split,
    **dict.fromkeys(_BROADCAST, _broadcast),
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "Range": _range,
    "Expand": _grown,
    "Tile": _grown,
    "Pad": _padded,
    "Gather": _gathered,
    "MatMul": _multiplied,
}
"""At most how many elements an output has, where that may be more than the inputs have, for each operator that is
evaluated."""


def evaluable(proto: onnx.NodeProto) -> bool:
    """Whether a node is evaluated where all its inputs are constant."""
    return proto.op_type in _SIZES


def evaluate(proto: onnx.NodeProto, arrays: dict[str, Array], opset: int) -> list[Array]:
    """The outputs of a node whose inputs are `arrays`. Raises RefusalError."""
    feeds = [arrays[name] for name in proto.input if name]
    if not feeds and proto.op_type != "Constant":
        raise RefusalError("its inputs are missing")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            _check_size(proto, feeds)
            results = [np.asarray(array) for array in _run(proto, arrays, opset)]
        except RefusalError:
            raise
        except Exception as error:  # noqa: BLE001 (the evaluator raises whatever numpy does)
            raise RefusalError(f"it cannot be evaluated: {error}") from None
    if any(array.dtype.kind in "OUSV" and not array.dtype.name.startswith("bfloat") for array in results):
        raise RefusalError("it makes strings; only numbers are supported")
    return results


def _check_size(proto: onnx.NodeProto, feeds: Sequence[Array]) -> None:
    if not _SIZES[proto.op_type](proto, feeds) <= _LARGEST:
        raise RefusalError("the constant is too large")


def _run(proto: onnx.NodeProto, arrays: dict[str, Array], opset: int) -> list[Array]:
    empty = onnx.TensorProto.UNDEFINED
    graph = onnx.helper.make_graph(
        [proto],
        "constant",
        [onnx.helper.make_tensor_value_info(name, empty, None) for name in arrays],
        [onnx.helper.make_tensor_value_info(name, empty, None) for name in proto.output if name],
    )
    version = min(opset, onnx.defs.onnx_opset_version())
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", version)])
    return list(ReferenceEvaluator(model).run(None, arrays))
