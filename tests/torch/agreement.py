"""Holds imported modules to torch: the spec, read back from its text, in the reference interpreter against the module
in float64."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from cnngen.codegen.interpret import outputs
from cnngen.codegen.lower import lower
from cnngen.spec import NetworkSpec, check_weights, dump_spec, parse_spec, resolve
from cnngen.spec.manifest import Array

torch = pytest.importorskip("torch")
nn = torch.nn

TOLERANCE = 1e-4  # of the largest element: what the issue asks for


@dataclass(frozen=True)
class Imported:
    """A module's spec and weights, and how far the interpreter is from torch."""

    spec: NetworkSpec
    weights: dict[str, Array]
    error: float

    @property
    def layers(self) -> list[str]:
        """The layers as they stand in the file."""
        lines = dump_spec(self.spec).splitlines()
        start = lines.index("layers:") + 1
        return [line.removeprefix("  - ") for line in lines[start:] if line.startswith("  - ")]

    @property
    def ops(self) -> list[str]:
        return [layer.op for layer in self.spec.layers]


def imported(module: Callable[..., object], *inputs: object, **options: object) -> Imported:
    """Imports a module, runs both, and compares."""
    from cnngen.spec.torch import import_torch

    spec, weights = import_torch(module, inputs, **options)
    check_weights(resolve(spec), weights)
    spec = parse_spec(dump_spec(spec))
    return Imported(spec, weights, error_of(spec, weights, module, inputs))


def assert_agrees(module: Callable[..., object], *inputs: object, tolerance: float = TOLERANCE) -> Imported:
    """The same; the error is at most `tolerance` of the largest element."""
    found = imported(module, *inputs)
    assert found.error <= tolerance, f"{found.error:.2e}\n" + "\n".join(found.layers)
    return found


def error_of(
    spec: NetworkSpec, weights: dict[str, Array], module: Callable[..., object], inputs: Sequence[object]
) -> float:
    """The largest difference of any output, as a part of that output's largest element."""
    tensors = [x for x in torch.utils._pytree.tree_leaves(inputs) if isinstance(x, torch.Tensor)]
    graph = lower(spec, weights, tensors[0].shape[0] if spec.batched else 1)
    feeds = {}
    for declared, value, tensor in zip(spec.inputs.values(), graph.inputs, tensors, strict=True):
        array = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
        feeds[value.name] = array.transpose(0, 3, 1, 2) if declared.layout == "NHWC" else np.atleast_1d(array)
    ours = outputs(graph, feeds).values()
    worst = 0.0
    wanted = exact(module, inputs)
    for output, y, expected in zip(resolve(spec).outputs, ours, wanted, strict=True):
        result = y.transpose(0, 2, 3, 1) if output.layout == "NHWC" else y
        assert result.shape == (expected.shape or (1,))
        worst = max(worst, distance(np.asarray(result, np.float64), expected.reshape(result.shape)))
    return worst


def distance(ours: Array, theirs: Array) -> float:
    """max |ours - theirs| / max |theirs|; infinities and NaNs have to stand at the same places."""
    finite = np.isfinite(theirs)
    if not np.array_equal(np.where(finite, 0, theirs), np.where(finite, 0, ours), equal_nan=True):
        return float("inf")
    scale = np.abs(theirs[finite]).max(initial=0.0)
    return (
        float(np.abs(ours[finite] - theirs[finite]).max(initial=0.0) / max(scale, 1e-30))
        if finite.any()
        else 0.0
    )


def exact(module: Callable[..., object], inputs: Sequence[object]) -> list[Array]:
    """What torch computes in float64, every output as an array."""
    if isinstance(module, nn.Module):
        module = copy.deepcopy(module).double().eval()
    widened = torch.utils._pytree.tree_map(_widened, tuple(inputs))
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is deprecated is imported too
            made = module(*widened)
    finally:
        torch.set_default_dtype(before)
    leaves = torch.utils._pytree.tree_leaves(made)
    return [x.detach().to(torch.float64).numpy() for x in leaves if isinstance(x, torch.Tensor)]


def _widened(value: object) -> object:
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def images(*shape: int, seed: int = 0) -> object:
    """Seeded normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
