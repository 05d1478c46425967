"""The examples themselves: their specs, the scripts that make or fetch their weights, and the demo."""

from __future__ import annotations

import importlib
import io
import os
import pickle
import shutil
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest

from cnngen.codegen.interpret import interpret
from cnngen.codegen.lower import lower
from cnngen.codegen.project import check_spec
from cnngen.spec import load_spec, load_weights, resolve

MAGIC = 0x1950A86A20F9469CFC6C


@pytest.fixture
def mobilenet(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A module of examples/mobilenet_v2, as its scripts import it."""
    monkeypatch.syspath_prepend(checkout / "examples" / "mobilenet_v2")
    return importlib.import_module


@pytest.mark.parametrize("name", ["tiny", "resnet50", "mobilenet_v2", "matting"])
def test_example_is_complete(name: str, checkout: Path) -> None:
    folder = checkout / "examples" / name
    assert load_spec(folder / "spec.yaml").name == name
    assert (folder / "README.md").is_file()


@pytest.mark.parametrize("name", ["tiny", "resnet50", "matting"])
def test_weights_script_writes_what_the_spec_reads(name: str, checkout: Path, tmp_path: Path) -> None:
    for file in ("spec.yaml", "weights.py"):
        shutil.copy(checkout / "examples" / name / file, tmp_path)
    subprocess.run([sys.executable, str(tmp_path / "weights.py")], check=True, cwd=tmp_path)
    spec = check_spec(tmp_path / "spec.yaml")
    assert set(load_weights(tmp_path / f"{name}.safetensors")) == set(resolve(spec).weights)


def test_tiny_has_its_weights(checkout: Path) -> None:
    check_spec(checkout / "examples" / "tiny" / "spec.yaml")


def test_seeded_activations_stay_of_order_one(checkout: Path, tmp_path: Path) -> None:
    for file in ("spec.yaml", "weights.py"):
        shutil.copy(checkout / "examples" / "resnet50" / file, tmp_path)
    subprocess.run([sys.executable, str(tmp_path / "weights.py")], check=True, cwd=tmp_path)
    spec = load_spec(tmp_path / "spec.yaml")
    graph = lower(spec, load_weights(tmp_path / "resnet50.safetensors"), 1)
    image = np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)
    values = interpret(graph, {graph.inputs[0].name: image}, np.float32)
    sums = [values[layer.name] for layer in spec.layers if layer.op in ("add", "linear")]
    assert len(sums) == 17
    assert all(0.3 < value.std() < 5 for value in sums)


def test_checkpoint_names_become_the_spec_s(mobilenet: Callable[[str], ModuleType], checkout: Path) -> None:
    """torchvision's names for MobileNetV2, from how its modules nest."""
    blocks = ["conv.0.0", "conv.0.1", "conv.1.0", "conv.1.1", "conv.2", "conv.3"]
    layers = ["features.0.0", "features.0.1", "features.18.0", "features.18.1", "classifier.1"]
    layers += [f"features.1.{part}" for part in ("conv.0.0", "conv.0.1", "conv.1", "conv.2")]
    layers += [f"features.{block}.{part}" for block in range(2, 18) for part in blocks]
    spec = load_spec(checkout / "examples" / "mobilenet_v2" / "spec.yaml")
    read = {name.rpartition(".")[0] for name in resolve(spec).weights}
    assert {mobilenet("fetch").layer_name(layer) for layer in layers} == read


def test_photo_is_read(mobilenet: Callable[[str], ModuleType], checkout: Path, tmp_path: Path) -> None:
    demo = mobilenet("demo")
    photo = demo.read_photo(checkout / "examples" / "mobilenet_v2" / "china.ppm")
    assert photo.shape == (224, 224, 3)
    assert photo.dtype == np.uint8
    with pytest.raises(demo.PhotoError, match="cannot read"):
        demo.read_photo(tmp_path / "absent.ppm")


class Tensor:
    """Pickles as a torch tensor does."""

    def __init__(self, values: list[Any], strides: tuple[int, ...] | None = None) -> None:
        self.values = np.asarray(values, "<f4")
        self.strides = strides or tuple(stride // 4 for stride in self.values.strides)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild_tensor_v2, (self, 0, self.values.shape, self.strides, False, OrderedDict()))


class FloatStorage:
    pass


def _rebuild_tensor_v2(*_: object) -> None:
    raise AssertionError("only its name is pickled")


class CheckpointPickler(pickle._Pickler):
    """Writes the references to torch's own names that a checkpoint holds."""

    def persistent_id(self, obj: object) -> object:
        if isinstance(obj, Tensor) and getattr(self, "inside", None) is obj:
            return ("storage", FloatStorage, str(id(obj)), "cpu", obj.values.size, None)
        self.inside = obj if isinstance(obj, Tensor) else getattr(self, "inside", None)
        return None

    def save_global(self, obj: object, name: str | None = None) -> None:
        names = {FloatStorage: "torch FloatStorage", _rebuild_tensor_v2: "torch._utils _rebuild_tensor_v2"}
        if obj in names:
            self.write(b"c%s\n%s\n" % tuple(names[obj].encode().split()))
        else:
            super().save_global(obj, name)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, FunctionType: save_global, type: save_global}


def checkpoint_bytes(tensors: dict[str, Any]) -> bytes:
    """What torch.save wrote before version 1.6 for these tensors."""
    file = io.BytesIO()
    storages = [tensor for tensor in tensors.values() if isinstance(tensor, Tensor)]
    for part in (MAGIC, 1001, {"little_endian": True}, OrderedDict(tensors), [str(id(s)) for s in storages]):
        CheckpointPickler(file, protocol=2).dump(part)
    for storage in storages:
        file.write(storage.values.size.to_bytes(8, "little") + storage.values.tobytes())
    return file.getvalue()


def test_checkpoint_is_read(mobilenet: Callable[[str], ModuleType], tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(checkpoint_bytes({"a": Tensor([[1, 2, 3], [4, 5, 6]]), "b": Tensor([7, 8])}))
    tensors = mobilenet("checkpoint").read_checkpoint(path)
    assert list(tensors) == ["a", "b"]
    np.testing.assert_array_equal(tensors["a"], [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(tensors["b"], [7, 8])


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch harm",))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (checkpoint_bytes({"a": Harm()}), "posix.system"),
        (checkpoint_bytes({"a": Tensor([1, 2, 3, 4])})[:-1], "damaged"),
        (checkpoint_bytes({"a": Tensor([1, 2, 3, 4], strides=(2,))}), "not contiguous"),
        (checkpoint_bytes({"a": 1}), "damaged"),
        (pickle.dumps(1), "no checkpoint"),
        (b"PK\3\4", "damaged"),
        (b"", "damaged"),
    ],
)
def test_checkpoint_is_refused(
    data: bytes,
    message: str,
    mobilenet: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pth"
    path.write_bytes(data)
    module = mobilenet("checkpoint")
    with pytest.raises(module.CheckpointError, match=message):
        module.read_checkpoint(path)
    assert not (tmp_path / "harm").exists()
