"""One network at one batch size: what its peers have in common is made once, in a folder.

A case is one of networks.NETWORKS with seeded weights and normally distributed inputs, or a model as
tests/models/make.py makes them: NAME.onnx, and NAME.npz with in_<input> and out_<output> beside it.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx
    import torch
    from torch import nn

    from cnngen.spec import NetworkSpec

ROOT = Path(__file__).resolve().parents[1]
SETS = 3  # of inputs, which passes take in turn: large ones do not stay in the cache


@dataclass(frozen=True)
class Case:
    """What is run. `model`: the ONNX file where it is not one of networks.NETWORKS."""

    network: str
    batch: int
    folder: Path
    model: Path | None = None

    @property
    def label(self) -> str:
        return f"{self.network}:{self.batch}"

    @property
    def spec(self) -> Path:
        return self.folder / "spec.yaml"

    @property
    def float16(self) -> Path:
        """The network as an ONNX file whose weights, inputs and outputs are float16, at this batch size."""
        return self.folder / "float16.onnx"

    @property
    def reference(self) -> Path:
        """The outputs for the first set of inputs in float32, by number."""
        return self.folder / "reference.npz"

    def arguments(self) -> list[str]:
        """For `of`, in another process."""
        return [self.network, str(self.batch), str(self.folder), str(self.model or "")]

    @classmethod
    def of(cls, network: str, batch: str, folder: str, model: str) -> Case:
        return cls(network, int(batch), Path(folder), Path(model) if model else None)


def parse(text: str, work: Path, models: Path | None) -> Case:
    """`NAME` or `NAME:BATCH` as a case in a folder of its own below `work`."""
    from networks import NETWORKS

    name, _, number = text.partition(":")
    if (number and not number.isdecimal()) or number == "0":
        sys.exit(f"{text}: expected NETWORK or NETWORK:BATCH, such as resnet50:64")
    if name in NETWORKS:
        batch = int(number or 1)
        return Case(name, batch, work / f"{name}-{batch}")
    if models is None or not (models / f"{name}.npz").is_file():
        there = f"; {models} has no {name}.npz" if models else "; --models gives a folder of others"
        sys.exit(f"{name} is not known: {', '.join(NETWORKS)}{there}")
    stored = np.load(models / f"{name}.npz")
    batch = next(stored[key].shape[0] for key in stored.files if key.startswith("in_"))
    if number and int(number) != batch:
        sys.exit(f"{text}: {name} runs on its stored inputs, whose batch is {batch}")
    return Case(name, batch, work / name, models / f"{name}.onnx")


def torch_models() -> dict[str, Callable[[], nn.Module]]:
    """The models of tests/models that are torch modules, by name: each makes its module."""
    sys.path.append(str(ROOT))  # behind the installed cnngen, which its folder of that name is not
    from tests.models.make import MODELS, FromTorch

    return {name: made.module for name, made in MODELS.items() if isinstance(made, FromTorch)}


def module_of(case: Case) -> nn.Module:
    """The network as a torch module in float32 on the CPU: what it was made of, or else what onnx2torch makes of it."""
    if case.model is None:
        from networks import network

        return network(case.network, case.folder)[0]
    if make := torch_models().get(case.network):
        from tests.models.wheels import FetchError

        with contextlib.suppress(FetchError):
            return make()
    from from_onnx import module_from_onnx

    return module_from_onnx(at_its_shapes(case))


def is_torch_module(case: Case) -> bool:
    """Whether `module_of` can do without onnx2torch."""
    return case.model is None or case.network in torch_models()


def at_its_shapes(case: Case) -> onnx.ModelProto:
    """A model with the shapes that it is run with, and no input that is a weight."""
    import onnx

    model = onnx.load(case.model)
    weights = {tensor.name for tensor in model.graph.initializer}
    ports = [port for port in model.graph.input if port.name not in weights]
    for port in ports:
        shape = stored_with(case, "in_")[port.name].shape
        kind = port.type.tensor_type.elem_type
        port.CopyFrom(onnx.helper.make_tensor_value_info(port.name, kind, shape))
    del model.graph.input[:], model.graph.value_info[:]
    model.graph.input.extend(ports)
    model.ir_version = max(model.ir_version, 4)  # before that each weight is an input, too
    return model


def input_sets(case: Case) -> list[list[torch.Tensor]]:
    """The same numbers in every process: float16 instead of float32, images channels-last, on the CPU."""
    import torch

    def stored(x: torch.Tensor) -> torch.Tensor:
        x = x.half() if x.is_floating_point() else x.clone()
        return x.to(memory_format=torch.channels_last) if x.ndim == 4 else x

    if case.model is None:
        from networks import NETWORKS

        shape = (case.batch, *NETWORKS[case.network][1])
        seeds = [torch.Generator().manual_seed(k + 1) for k in range(SETS)]
        return [[stored(torch.randn(shape, generator=seed))] for seed in seeds]
    arrays = stored_with(case, "in_").values()
    return [[stored(torch.from_numpy(array)) for array in arrays] for _ in range(SETS)]


def prepare(case: Case, float16: bool) -> None:
    """Makes what is not there yet: weights, spec, reference and, if asked for, the float16 ONNX file.

    A spec that is there is used as it is, with what lies beside it.
    """
    import torch

    torch.set_grad_enabled(False)
    case.folder.mkdir(parents=True, exist_ok=True)
    module = module_of(case) if case.model is None else None
    weights = case.folder / f"{case.network}.safetensors"
    if module is not None and not weights.exists():
        from safetensors.torch import save_file

        save_file(module.state_dict(), weights)
    if not case.spec.exists():
        write_spec(case, module)
    if not case.reference.exists():
        write_reference(case, module)
    if float16 and not case.float16.exists():
        write_float16(case, module)


def write_spec(case: Case, module: nn.Module | None) -> None:
    """Imports the network through ONNX, for float16 storage."""
    from networks import NETWORKS, export

    from cnngen.spec import dump_spec, save_weights
    from cnngen.spec.onnx import import_onnx

    if case.model is None:
        source, how = case.folder / "float32.onnx", {"batch_sizes": [case.batch]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, about itself
            export(module, NETWORKS[case.network][1], source)
        module.eval()
    else:
        source, how = case.model, {"shapes": {name: x.shape for name, x in stored_with(case, "in_").items()}}
    spec, weights = import_onnx(source, name=case.network, **how)
    spec = in_float16(spec.model_copy(update={"weights": "weights.safetensors"}))
    save_weights(case.folder / "weights.safetensors", weights)
    case.spec.write_text(dump_spec(spec))


def in_float16(spec: NetworkSpec) -> NetworkSpec:
    """The network stored in float16 and given it, images channels-last, like the peers."""
    data = spec.model_dump(exclude_unset=True)
    data["precision"] = "float16"
    outputs = data.get("outputs") or [{"layer": spec.layers[-1].name}]
    data["outputs"] = outputs
    for port in [*data["inputs"].values(), *outputs]:
        if port.get("dtype", "float32") == "float32":
            port["dtype"] = "float16"
    for tensor in data["inputs"].values():
        if len(tensor["shape"]) == 4:
            tensor["layout"] = "NHWC"
    return type(spec).model_validate(data)


def write_reference(case: Case, module: nn.Module | None) -> None:
    """In float32 without TF32 by torch, on the GPU where there is one; a model's own stored outputs."""
    import torch

    if module is None:
        results = list(stored_with(case, "out_").values())
    else:
        device = device_at_hand()
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            y = module.to(device)(*[x.float().to(device) for x in input_sets(case)[0]])
        results = [part.cpu().numpy() for part in (y if isinstance(y, tuple | list) else [y])]
        module.cpu()
    np.savez(case.reference, **{str(k): array for k, array in enumerate(results)})


def write_float16(case: Case, module: nn.Module | None) -> None:
    """Of a torch module its own export; a model is converted by onnxruntime's tool, with the shapes it is run with."""
    import torch

    if module is None:
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16

        onnx.save(convert_float_to_float16(at_its_shapes(case), keep_io_types=False), case.float16)
        return
    device = device_at_hand()
    inputs = tuple(x.to(device) for x in input_sets(case)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        torch.onnx.export(module.to(device).half(), inputs, str(case.float16), dynamo=False, opset_version=17)


def stored_with(case: Case, prefix: str) -> dict[str, Any]:
    """The arrays of a model's .npz whose keys begin so, by the rest of their names."""
    arrays = np.load(case.model.with_suffix(".npz"))
    return {key.removeprefix(prefix): arrays[key] for key in arrays.files if key.startswith(prefix)}


def device_at_hand() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def errors(results: list[Any], reference: Path) -> float:
    """The largest ||got - reference|| / ||reference|| of all outputs."""
    from machine import relative

    stored = np.load(reference)
    pairs = zip(results, (stored[str(k)] for k in range(len(stored.files))), strict=True)
    return max(
        relative(got.astype(np.float64).reshape(want.shape), want.astype(np.float64)) for got, want in pairs
    )
