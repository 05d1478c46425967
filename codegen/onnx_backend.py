"""cnngen behind ONNX's own backend interface: a model in, arrays in, arrays out.

    import onnx
    from cnngen import onnx_backend

    outputs = onnx_backend.prepare(onnx.load("model.onnx")).run([image])

A network is made for the shapes that the first run brings, and for each other set of shapes that follows. An input
that cnngen can only take as a constant, such as a shape, axes, bounds or the weights of a convolution, becomes one
with the value that the run brings; `Prepared.constants` names them. What was built stays in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.shape_inference
from onnx import helper
from onnx.backend.base import Backend as OnnxBackend
from onnx.backend.base import BackendRep, Device, DeviceType

from cnngen.codegen.architectures import gpus
from cnngen.codegen.build import build_project
from cnngen.codegen.loading import load_project
from cnngen.codegen.project import generate_project
from cnngen.codegen.targets import TARGETS, TargetName
from cnngen.spec import dump_spec, save_weights
from cnngen.spec.errors import ImportModelError, Problem, listing
from cnngen.spec.manifest import Array
from cnngen.spec.network import NetworkSpec
from cnngen.spec.onnx import import_onnx

# Takes the network's inputs in order; gives its output, or a tuple of them.
Network = Callable[..., Any]
# Makes a network that runs. The default builds it; tests look it up, or interpret.
Maker = Callable[[NetworkSpec, Mapping[str, Array], TargetName], Network]


@dataclass(frozen=True)
class ImportedModel:
    """A model as a network for one set of inputs.

    shapes:    of the model's inputs, by name
    inputs:    the names of those that the network takes, in its order
    constants: the values of those that became constants
    """

    spec: NetworkSpec
    weights: Mapping[str, Array]
    shapes: Mapping[str, tuple[int, ...]]
    inputs: tuple[str, ...]
    constants: Mapping[str, Array]

    def serves(self, feeds: Mapping[str, Array]) -> bool:
        """Whether the network is the right one for these inputs too."""
        return self.shapes == _shapes(feeds) and all(
            np.array_equal(feeds[name], array, equal_nan=array.dtype.kind == "f")
            for name, array in self.constants.items()
        )


def feeds_of(model: onnx.ModelProto, inputs: Any) -> dict[str, Array]:  # noqa: ANN401 (onnx's interface)
    """The inputs of a model by name: given as an array, as arrays in its order, or by name.

    Raises:
        ImportModelError: they are not the model's, or no tensors.
    """
    names = [value.name for value in data_inputs(model)]
    if isinstance(inputs, Mapping):
        given = dict(inputs)
    else:
        arrays = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
        given = dict(zip([*names, *map(str, range(len(names), len(arrays)))], arrays, strict=False))
    if given.keys() != set(names):
        text = f"got the inputs {listing(sorted(given))}; the model has {listing(names)}"
        raise ImportModelError(Problem(text))
    return {name: _array(name, given[name]) for name in names}


def import_model(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> ImportedModel:
    """Import a model for these inputs; those that it can only take as constants become constants.

    Raises:
        ImportModelError: nodes cannot be expressed, or no input is left that is data.
    """
    constants: dict[str, Array] = {}
    while len(constants) < len(feeds):
        data = {name: array for name, array in feeds.items() if name not in constants}
        try:
            spec, weights = import_onnx(
                model, name="model", shapes=_shapes(data), constants=constants, batched=False
            )
        except ImportModelError as error:
            needed = error.needs_constant & data.keys()
            if not needed:
                raise
            constants.update((name, feeds[name]) for name in needed)
        else:
            return ImportedModel(spec, weights, _shapes(feeds), tuple(data), constants)
    raise ImportModelError(Problem("no input is data: the model is known as soon as its constants are"))


def network_key(spec: NetworkSpec, weights: Mapping[str, Array], target: TargetName) -> str:
    """What tells networks apart: sixteen hex digits of the spec, the weights and the target."""
    key = hashlib.sha256(f"{target}\0{spec.model_dump_json()}".encode())
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        key.update(f"\0{name}\0{array.dtype}\0{array.shape}\0".encode() + array.tobytes())
    return key.hexdigest()[:16]


def build_network(spec: NetworkSpec, weights: Mapping[str, Array], target: TargetName) -> Network:
    """Generate and build a network in the user's cache folder, where it is not there yet, and load it.

    Raises:
        CnngenError: the toolchain is not there, a compiler failed, the disk is full.
    """
    key = network_key(spec, weights, target)
    named = spec.model_copy(update={"name": f"{spec.name}_{key}", "weights": f"{key}.safetensors"})
    folder = cache_folder() / target
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(folder / f"{key}.safetensors", weights)
    source = folder / f"{key}.yaml"
    source.write_text(dump_spec(named))
    project = generate_project(source, folder, target=TARGETS[target])
    build_project(project)
    network: Network = load_project(project).Network()
    return network


def cache_folder() -> Path:
    """Where networks that were built for models lie; it may be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cnngen" / "onnx"


class Prepared(BackendRep):
    """A model that is ready to run.

    constants: the names of the inputs that were taken as constants at the last run
    """

    def __init__(self, model: onnx.ModelProto, target: TargetName, make: Maker) -> None:
        self.model, self.target, self.make = model, target, make
        self.constants: tuple[str, ...] = ()
        self._made: list[tuple[ImportedModel, Network]] = []

    def run(self, inputs: Any, **_kwargs: Any) -> tuple[Array, ...]:  # noqa: ANN401 (onnx's interface)
        """The model's outputs, in its order.

        Args:
            inputs: an array, arrays in the order of the model's inputs, or a dict by name, in the model's types.

        Raises:
            ImportModelError: the model cannot be expressed with these inputs, or they are not the model's.
            CnngenError: the network cannot be built.
        """
        feeds = feeds_of(self.model, inputs)
        imported, network = self._network(feeds)
        self.constants = tuple(imported.constants)
        # A network's arrays have an axis at least; a model may have scalars.
        result = network(*(np.ascontiguousarray(np.atleast_1d(feeds[name])) for name in imported.inputs))
        outputs = result if isinstance(result, tuple) else (result,)
        return tuple(
            array.reshape(()) if _is_scalar(value) else array
            for array, value in zip(outputs, self.model.graph.output, strict=True)
        )

    def _network(self, feeds: Mapping[str, Array]) -> tuple[ImportedModel, Network]:
        for imported, network in self._made:
            if imported.serves(feeds):
                return imported, network
        imported = import_model(self.model, feeds)
        self._made.append((imported, self.make(imported.spec, imported.weights, self.target)))
        return self._made[-1]


class Backend(OnnxBackend):
    """`onnx.backend.base.Backend`, for the CPU target and, with device "CUDA", for the CUDA target.

    make: how networks are made
    """

    make: Maker = staticmethod(build_network)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether networks for the device run here: always on "CPU", on "CUDA" where a GPU is."""
        return Device(device).type == DeviceType.CPU or bool(gpus())

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:  # noqa: ANN401
        """Whether the model can be expressed, as far as that shows before its inputs are known."""
        try:
            cls.prepare(model, device, **kwargs)
        except ImportModelError:
            return False
        return True

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **_kwargs: Any) -> Prepared:  # noqa: ANN401
        """A model that is ready to run; it is built at the first run, when the shapes of its inputs are known.

        Raises:
            ImportModelError: nodes cannot be expressed: all of them, each with its name and the reason.
        """
        if all(map(_is_fixed, data_inputs(model))):
            try:
                import_onnx(model, name="model", batched=False)
            except ImportModelError as error:
                if not error.needs_constant:
                    raise
        return Prepared(model, "cuda" if Device(device).type == DeviceType.CUDA else "cpu", cls.make)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Sequence[Array],
        device: str = "CPU",
        outputs_info: object = None,  # noqa: ARG003 (onnx's interface; types are inferred)
        **kwargs: Any,  # noqa: ANN401
    ) -> tuple[Array, ...]:
        """The outputs of one operator of ONNX's newest opset, or of `opset_version`."""
        arrays = [np.asarray(array) for array in inputs]
        values = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in zip(filter(None, node.input), arrays, strict=True)
        ]
        returns = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        opset = helper.make_opsetid("", kwargs.pop("opset_version", onnx.defs.onnx_opset_version()))
        graph = helper.make_graph([node], "node", values, returns)
        model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[opset]))
        return cls.prepare(model, device, **kwargs).run(arrays)


def data_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs of a model that are not stored in it."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def _array(name: str, value: object) -> Array:
    if isinstance(value, (list, tuple, str, bytes)) or value is None:
        kind = type(value).__name__
        raise ImportModelError(Problem(f"input {name!r} is a {kind}; only tensors are supported"))
    return np.asarray(value)


def _shapes(arrays: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def _is_fixed(value: onnx.ValueInfoProto) -> bool:
    kind = value.type.tensor_type
    return kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim)


def _is_scalar(value: onnx.ValueInfoProto) -> bool:
    kind = value.type.tensor_type
    return kind.HasField("shape") and not kind.shape.dim


prepare = Backend.prepare
run_model = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device
is_compatible = Backend.is_compatible
