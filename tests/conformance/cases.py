"""ONNX's own test cases, as the installed `onnx` wheel brings them, and which of them count for what.

single      one operator of the issue's set, with a float32 input: 562 cases
expanded    the same operators and others, written out by ONNX's function bodies: 480 cases
pytorch     `pytorch-converted` and `pytorch-operator`: 117 cases
others      every other node case: run where cnngen takes it, never counted
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from cnngen.codegen.onnx_backend import feeds_of, import_model
from cnngen.spec import ImportModelError, NetworkSpec

Array = np.ndarray[Any, np.dtype[Any]]

# What a CNN's inference is made of, by ONNX's names. The shape operators (Shape, Range, ...) are evaluated at import.
_OPERATORS = """
    Conv ConvTranspose MaxPool MaxUnpool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool
    BatchNormalization InstanceNormalization GroupNormalization LayerNormalization LpNormalization LRN
    MeanVarianceNormalization Gemm MatMul
    Celu Elu Gelu Hardmax HardSigmoid HardSwish LeakyRelu LogSoftmax Mish PRelu Relu Selu Shrink Sigmoid Softmax
    Softplus Softsign Swish Tanh ThresholdedRelu
    Abs Add And Cast Ceil Clip Div Equal Erf Exp Floor Greater GreaterOrEqual Less LessOrEqual Log Max Mean Min Mod
    Mul Neg Not Or Pow Reciprocal Round Sign Sqrt Sub Sum Where Xor
    ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare
    CenterCropPad Concat DepthToSpace Dropout Expand Flatten Gather GridSample Identity Pad Reshape Resize Slice
    SpaceToDepth Split Squeeze Tile Transpose Unsqueeze Upsample
    ConstantOfShape If Range Shape Size
"""
CNN_OPERATORS = frozenset(_OPERATORS.split())
COUNTS = {"single": 562, "expanded": 480, "pytorch": 117}  # in onnx 1.23; other versions have others


@dataclass(frozen=True)
class Case:
    """A model, and what it gives for what.

    group:     "single", "expanded", "pytorch" or "others"
    data_sets: inputs in the graph's order, and outputs in its order
    """

    name: str
    group: str
    model: onnx.ModelProto
    data_sets: tuple[tuple[tuple[Any, ...], tuple[Any, ...]], ...]
    rtol: float
    atol: float

    @property
    def operator(self) -> str:
        """The operator that the case is named for, or that it begins with."""
        return str(self.model.graph.node[0].op_type)


@cache
def node_cases() -> tuple[Case, ...]:
    """The cases of kind "node"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy, on the infinities that some cases are about
        loaded = load_model_tests(kind="node")
    return tuple(
        Case(case.name, _group(case), case.model, tuple(_arrays(case.data_sets)), case.rtol, case.atol)
        for case in loaded
    )


@cache
def pytorch_cases() -> tuple[Case, ...]:
    """The cases of the kinds "pytorch-converted" and "pytorch-operator"."""
    found = [
        case for kind in ("pytorch-converted", "pytorch-operator") for case in load_model_tests(kind=kind)
    ]
    return tuple(
        Case(case.name, "pytorch", *_stored(Path(case.model_dir)), case.rtol, case.atol)
        for case in sorted(found, key=lambda case: str(case.name))
    )


def light_models() -> tuple[Path, ...]:
    """ONNX's own architecture files."""
    return tuple(sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx")))


def sources(cases: Iterable[Case]) -> Iterator[tuple[NetworkSpec, Mapping[str, Array]]]:
    """The network of each data set of the cases, but for those that are refused."""
    for case in cases:
        for inputs, _ in case.data_sets:
            with suppress(ImportModelError):
                imported = import_model(case.model, feeds_of(case.model, inputs))
                yield imported.spec, imported.weights


def element_types(values: Sequence[onnx.ValueInfoProto]) -> list[int]:
    """The element type of each input or output; 0 for what is no tensor."""
    return [value.type.tensor_type.elem_type for value in values]


def _group(case: Any) -> str:  # noqa: ANN401 (onnx's own TestCase)
    if "_expanded" in case.name:
        return "expanded"
    graph = case.model.graph
    float32 = onnx.TensorProto.FLOAT in element_types(graph.input)
    return "single" if float32 and graph.node[0].op_type in CNN_OPERATORS else "others"


def _arrays(data_sets: Any) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:  # noqa: ANN401
    def plain(item: Any) -> Any:  # noqa: ANN401
        if isinstance(item, onnx.TensorProto):
            return numpy_helper.to_array(item)
        return np.asarray(item) if isinstance(item, np.generic) else item

    for inputs, outputs in data_sets:
        yield tuple(map(plain, inputs)), tuple(map(plain, outputs))


def _stored(folder: Path) -> tuple[onnx.ModelProto, tuple[tuple[tuple[Array, ...], tuple[Array, ...]], ...]]:
    data = []
    for data_set in sorted(folder.glob("test_data_set*")):
        inputs, outputs = (
            tuple(
                numpy_helper.to_array(onnx.load_tensor(data_set / f"{kind}_{k}.pb"))
                for k in range(len(list(data_set.glob(f"{kind}_*.pb"))))
            )
            for kind in ("input", "output")
        )
        data.append((inputs, outputs))
    return onnx.load(folder / "model.onnx"), tuple(data)
