"""ONNX models as modules whose steps know their operands: what is folded, and that each step does as before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from torch import Tensor, fx, nn

torch = pytest.importorskip("torch")

from from_onnx import fix_operands, folded, with_global_pools  # noqa: E402 - torch may be missing


class OnnxReshape(torch.nn.Module):
    def forward(self, x: Tensor, shape: Tensor) -> Tensor:
        return x.reshape([int(size) or x.shape[axis] for axis, size in enumerate(shape)])


class OnnxSlice(torch.nn.Module):
    def forward(self, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor, steps: Tensor) -> Tensor:
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            x = x.index_select(int(axis), torch.arange(x.shape[axis])[start:end:step])
        return x


class OnnxPadDynamic(torch.nn.Module):
    mode = "constant"

    def forward(self, x: Tensor, pads: Tensor, value: Tensor | float = 0.0) -> Tensor:
        n, c, h, w = x.shape
        first, last = pads[:4].tolist(), pads[4:].tolist()
        size = [a + b + e for a, b, e in zip(first, last, (n, c, h, w), strict=True)]
        y = torch.full(size, float(value))
        y[
            first[0] : first[0] + n, first[1] : first[1] + c, first[2] : first[2] + h, first[3] : first[3] + w
        ] = x
        return y


class OnnxResize(torch.nn.Module):
    onnx_mode, align_corners = "nearest", None

    def forward(
        self, x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None
    ) -> Tensor:
        assert roi is None
        size = sizes[2:].tolist() if sizes is not None else None
        return torch.nn.functional.interpolate(
            x, size=size, scale_factor=None if size else scales[2:].tolist()
        )


STEPS = [
    (OnnxReshape(), ([0, 3, -1],), {}),
    (OnnxSlice(), ([1, -4], [3, 6], [1, 3], [1, 2]), {}),
    (OnnxPadDynamic(), ([0, 0, 1, 0, 0, 0, 2, 3],), {}),
    (OnnxPadDynamic(), ([0, 1, 1, 0, 0, 0, 2, 3], 0.5), {}),
    (OnnxResize(), (), {"scales": [1.0, 1.0, 2.0, 3.0]}),
    (OnnxResize(), (), {"sizes": [2, 6, 5, 9]}),
]


@pytest.mark.parametrize(("step", "operands", "named"), STEPS)
def test_a_step_whose_operands_are_numbers_does_as_before(
    step: nn.Module, operands: tuple[Any, ...], named: dict[str, Any]
) -> None:
    graph = torch.fx.Graph()
    root = torch.nn.Module()
    root.add_module("step", step)
    x = graph.placeholder("x")

    def constant(name: str, value: object) -> fx.Node:
        root.register_buffer(name, torch.tensor(value))
        return graph.get_attr(name)

    args = [constant(f"c{k}", value) for k, value in enumerate(operands)]
    kwargs = {name: constant(name, value) for name, value in named.items()}
    graph.output(graph.call_module("step", (x, *args), kwargs))
    module = torch.fx.GraphModule(root, graph)
    data = torch.randn(2, 6, 4, 6)
    want = module(data)
    (node,) = [node for node in module.graph.nodes if node.op == "call_module"]
    fix_operands(module, node)
    module.recompile()
    assert node.args == (next(iter(module.graph.nodes)),)
    assert not node.kwargs
    torch.testing.assert_close(module(data), want)


def test_an_operand_that_is_computed_stays() -> None:
    graph = torch.fx.Graph()
    root = torch.nn.Module()
    root.add_module("step", OnnxReshape())
    x, shape = graph.placeholder("x"), graph.placeholder("shape")
    graph.output(graph.call_module("step", (x, shape)))
    module = torch.fx.GraphModule(root, graph)
    (node,) = [node for node in module.graph.nodes if node.op == "call_module"]
    fix_operands(module, node)
    assert node.args == (x, shape)


def test_arithmetic_on_shapes_is_folded() -> None:
    """y = x reshaped to (its first size, all others)."""
    first = numpy_helper.from_array(np.array([0], np.int64), "first")
    rest = numpy_helper.from_array(np.array([-1], np.int64), "rest")
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["both"], axis=0),
        helper.make_node("Reshape", ["x", "both"], ["flat"]),
        helper.make_node("Relu", ["flat"], ["y"]),
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [2, 3, 4]), ("y", [2, 12]))
    ]
    graph = helper.make_graph(nodes, "shapes", ports[:1], ports[1:], [first, rest])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    assert [node.op_type for node in folded(model).graph.node] == ["Reshape", "Relu"]


@pytest.mark.parametrize(
    ("pads", "more", "kind"),
    [
        ([0, 0, 1, 1], {}, "GlobalAveragePool"),
        ([1, 1, 0, 0], {}, "AveragePool"),  # its first window begins outside, and others might follow
        ([0, 0, 1, 1], {"count_include_pad": 1}, "AveragePool"),
        ([0, 0, 2, 2], {}, "AveragePool"),
    ],
    ids=["the image", "begins before it", "zeros count", "several windows"],
)
def test_an_average_of_whole_images_is_said_to_be_that(
    pads: list[int], more: dict[str, int], kind: str
) -> None:
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[7, 7], pads=pads, **more)
    size = 6 + pads[0] + pads[2] - 7 + 1
    ports = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 6, 6]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, size, size]),
    ]
    graph = helper.make_graph([node], "pool", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    assert [node.op_type for node in with_global_pools(model).graph.node] == [kind]
