"""An ONNX model as a torch module that torch.compile takes as one graph, and that a CUDA graph can capture.

What onnx2torch makes reads shapes, bounds and scales from tensors at every pass: the compiler breaks its graph there,
or fails, and a capture must not wait for a copy from the GPU. So what is known is worked out first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch.nn import functional

if TYPE_CHECKING:
    import onnx

# Only onnxruntime itself knows what it would make of these.
NOT_FUSED = ["SliceConcatToSpaceToDepthFusion"]


def module_from_onnx(model: onnx.ModelProto) -> nn.Module:
    """The module of a model whose inputs have their shapes. Needs onnx2torch and onnxruntime."""
    from onnx2torch import convert

    module = convert(with_global_pools(folded(model)))
    for node in list(module.graph.nodes):
        if node.op == "call_module":
            fix_operands(module, node)
    module.graph.lint()
    module.recompile()
    return module


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without what does not depend on its inputs' elements: arithmetic on shapes and weights."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        options.log_severity_level = 4
        providers = ["CPUExecutionProvider"]
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers, disabled_optimizers=NOT_FUSED
        )
        return onnx.load(options.optimized_model_filepath)


def with_global_pools(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in which an average of whole images is said to be that: onnx2torch knows no uneven padding."""
    from onnx.shape_inference import infer_shapes

    model = infer_shapes(model)
    graph = model.graph
    sizes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim[2:]]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    for node in graph.node:
        fields = {field.name: field for field in node.attribute}
        if node.op_type != "AveragePool" or ("count_include_pad" in fields and fields["count_include_pad"].i):
            continue
        image, one = sizes.get(node.input[0], []), sizes.get(node.output[0], [])
        covers = zip(image, fields["kernel_shape"].ints, strict=False)
        pads = fields["pads"].ints if "pads" in fields else [0]
        first = [*pads[: len(image)]]
        if image and set(one) == {1} and not any(first) and all(size <= kernel for size, kernel in covers):
            node.op_type = "GlobalAveragePool"
            del node.attribute[:]
    return model


class Fixed(nn.Module):
    """A function of one tensor."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def fix_operands(module: fx.GraphModule, node: fx.Node) -> None:
    """Gives a step its operands as numbers, where all but the first are constants and it would read them."""
    given = [arg for arg in (*node.args[1:], *node.kwargs.values()) if isinstance(arg, fx.Node)]
    old = module.get_submodule(node.target)
    if type(old).__name__ not in FIXED or any(arg.op != "get_attr" for arg in given):
        return

    def numbers(arg: fx.Node | None) -> list[Any]:
        return [] if arg is None else module.get_buffer(arg.target).flatten().tolist()

    named = {name: numbers(arg) for name, arg in node.kwargs.items()}
    function = FIXED[type(old).__name__](old, *(numbers(arg) for arg in node.args[1:]), **named)
    module.set_submodule(node.target, Fixed(function))
    node.args, node.kwargs = node.args[:1], {}


def reshaped(x: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    return x.reshape([size or x.shape[axis] for axis, size in enumerate(shape)])


def resized(old: Any, roi: object = None, scales: Sequence[float] = (), sizes: Sequence[int] = ()) -> Any:
    del roi  # for another mode
    to = {"size": sizes[2:]} if sizes else {"scale_factor": scales[2:]}
    mode = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}[old.onnx_mode]
    return partial(functional.interpolate, mode=mode, align_corners=old.align_corners, **to)


def padded(old: Any, pads: list[int], value: Sequence[float] = (0.0,)) -> Any:
    """ONNX has all that comes first, axis by axis, and then all that comes last."""
    axes = len(pads) // 2
    pairs = [pads[axis + side * axes] for axis in reversed(range(axes)) for side in (0, 1)]
    while pairs and pairs[-2:] == [0, 0]:  # of the outer axes, which not all modes accept
        del pairs[-2:]
    return partial(functional.pad, pad=pairs, mode=old.mode, value=value[0] if value else 0.0)


def cut(starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> Any:
    each = zip(starts, ends, axes or range(len(starts)), steps or [1] * len(starts), strict=True)
    bounds = {axis: slice(start, end, step) for start, end, axis, step in each}

    def function(x: torch.Tensor) -> torch.Tensor:
        return x[tuple(bounds.get(axis, bounds.get(axis - x.ndim, slice(None))) for axis in range(x.ndim))]

    return function


FIXED: dict[str, Callable[..., Any]] = {
    "OnnxReshape": lambda _old, shape: partial(reshaped, shape=shape),
    "OnnxResize": resized,
    "OnnxPadDynamic": padded,
    "OnnxSlice": lambda _old, starts, ends, axes=(), steps=(): cut(starts, ends, axes, steps),
}
