"""What `cnngen import torch` does: finds the module, loads its checkpoint, makes example inputs, imports."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from cnngen.spec.errors import ImportModelError, Problem, listing, nearest
from cnngen.spec.importing.write import network_name
from cnngen.spec.manifest import Array
from cnngen.spec.network import NetworkSpec
from cnngen.spec.torch import import_torch
from cnngen.spec.torch.call import ELEMENT_TYPES

_NESTED = ("state_dict", "model", "model_state_dict")  # where training scripts put the tensors


def import_from(
    factory: str,
    inputs: Sequence[str],
    checkpoint: Path | None = None,
    name: str | None = None,
    batch_sizes: Sequence[int] | None = None,
) -> tuple[NetworkSpec, dict[str, Array]]:
    """The spec and the weights of a module that Python code makes.

    Args:
        factory: "package.module:name", importable from the current folder: a module, its class, or a function that
            makes it.
        inputs: "1x3x224x224", "1x16:int64", or all as "image=1x3x224x224".
        checkpoint: a file of the module's state_dict, read without running code from it.
        name: of the network; default: the factory's.
        batch_sizes: default: the inputs' own.

    Raises:
        ImportModelError: nothing is there to import, or it cannot be expressed.
    """
    module = make_module(factory)
    if checkpoint is not None:
        load_checkpoint(module, checkpoint)
    types = [parameter.dtype for parameter in module.parameters() if parameter.is_floating_point()]
    examples = [_example(text, types[0] if types else torch.float32) for text in inputs]
    named = {argument: tensor for argument, tensor in examples if argument}
    if named and len(named) < len(examples):
        raise ImportModelError("--input: give all inputs a name (image=1x3x224x224), each another, or none")
    title = name or network_name(factory.rpartition(":")[2].rpartition(".")[2].lower())
    return import_torch(module, named or [tensor for _, tensor in examples], title, batch_sizes)


def make_module(factory: str) -> torch.nn.Module:
    """The module that "package.module:name" is, or makes. Raises ImportModelError."""
    path, colon, name = factory.partition(":")
    if not colon or not path or not name:
        raise ImportModelError(
            f"{factory!r} is not package.module:factory, such as torchvision.models:resnet18"
        )
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: object = importlib.import_module(path)
    except Exception as error:
        raise ImportModelError(Problem(f"cannot import {path!r}: {_text(error)}")) from error
    for part in name.split("."):
        if not hasattr(found, part):
            known = [entry for entry in dir(found) if not entry.startswith("_")]
            raise ImportModelError(f"{path!r} has no {part!r}{nearest(part, known)}")
        found = getattr(found, part)
    if not isinstance(found, torch.nn.Module) and callable(found):
        try:
            found = found()
        except Exception as error:
            text = f"{factory} cannot be called without arguments: {_text(error)}"
            raise ImportModelError(f"{text}; name a function that makes the module") from error
    if not isinstance(found, torch.nn.Module):
        raise ImportModelError(f"{factory} makes {type(found).__name__}, not a torch.nn.Module")
    return found


def load_checkpoint(module: torch.nn.Module, path: Path) -> None:
    """Puts a state_dict from a file into the module. Raises ImportModelError with every tensor that does not fit."""
    tensors = _state(_read(path), path)
    own = module.state_dict()
    missing = [name for name in own if name not in tensors and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in tensors if name not in own]
    problems = [
        Problem(f"{what}: {listing(names)}", where=str(path))
        for what, names in (("it lacks", missing), ("the module has no", unexpected))
        if names
    ]
    problems += [
        Problem(f"{name!r} is {list(tensor.shape)}, the module has {list(own[name].shape)}", where=str(path))
        for name, tensor in tensors.items()
        if name in own and tensor.shape != own[name].shape
    ]
    if problems:
        raise ImportModelError(problems)
    module.load_state_dict(tensors, strict=False)  # all but num_batches_tracked is there


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ImportModelError(
            Problem(f"cannot read the checkpoint: {error.strerror}", where=str(path))
        ) from None
    except Exception as error:  # noqa: BLE001 (a damaged file fails in many ways)
        lines = str(error).splitlines() or [""]
        text = f"it is damaged, or holds more than tensors, which is not read ({lines[0]}); save model.state_dict()"
        raise ImportModelError(Problem(text, where=str(path))) from None


def _state(loaded: object, path: Path) -> dict[str, torch.Tensor]:
    """The tensors by name, also where they are nested, or saved from a DataParallel."""
    for key in _NESTED:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(
        isinstance(value, torch.Tensor) for value in loaded.values()
    ):
        raise ImportModelError(Problem("it is not a state_dict: tensors by name", where=str(path)))
    names = [str(name) for name in loaded]
    prefix = "module." if names and all(name.startswith("module.") for name in names) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in zip(names, loaded.values(), strict=True)}


def _example(text: str, default: torch.dtype) -> tuple[str, torch.Tensor]:
    """An input's name ("" where none is given) and a tensor of its shape and type."""
    name, _, rest = text.rpartition("=")
    extents, colon, word = rest.partition(":")
    sizes = extents.split("x")
    if not all(size.isascii() and size.isdigit() and int(size) > 0 for size in sizes):
        raise ImportModelError(
            f"--input: {text!r} is not a shape such as 1x3x224x224, image=1x3x224x224 or 1x16:int64"
        )
    if colon and word not in ELEMENT_TYPES:
        raise ImportModelError(f"--input: {word!r} is no element type; allowed: {', '.join(ELEMENT_TYPES)}")
    dtype = getattr(torch, word) if colon else default
    return name, torch.zeros([int(size) for size in sizes], dtype=dtype)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
