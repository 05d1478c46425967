"""The commands `cnngen import ...`: a spec and its weights from a model of another framework."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Optional

import typer

from cnngen.spec import NetworkSpec, dump_spec, save_weights
from cnngen.spec.manifest import Array

importers = typer.Typer(no_args_is_help=True, help="Make a spec from a model of another framework.")


@importers.command("onnx")
def import_onnx_model(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="the ONNX file")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="for spec.yaml and weights")],
    name: Annotated[
        Optional[str], typer.Option("--name", help="the network's name; default: the file's")
    ] = None,
    batch_sizes: Annotated[
        Optional[str],
        typer.Option("--batch-sizes", metavar="LIST", help="such as 1,8; default: the model's own"),
    ] = None,
    shape: Annotated[
        Optional[list[str]],
        typer.Option(
            "--shape",
            metavar="INPUT=SHAPE",
            help="of an input with dynamic axes: image=1x3x320x320; several of one input are profiles that share "
            "the weights",
        ),
    ] = None,
    constant: Annotated[
        Optional[list[str]],
        typer.Option(
            "--constant",
            metavar="INPUT=NUMBERS",
            help="the value of an input that sizes depend on: sizes=1,3,64,64; it is then no input",
        ),
    ] = None,
) -> None:
    """Make spec.yaml and weights.safetensors from an ONNX model."""
    from cnngen.spec.onnx import import_onnx

    batches = None if batch_sizes is None else _numbers("--batch-sizes", batch_sizes, ",")
    shapes: dict[str, list[list[int]]] = {}
    for text in shape or ():
        tensor, equals, extents = text.rpartition("=")
        if not equals:
            raise typer.BadParameter(f"--shape: {text!r} is not INPUT=SHAPE, such as image=1x3x320x320")
        shapes.setdefault(tensor, []).append(_numbers("--shape", extents, "x"))
    constants = dict(_constant(text) for text in constant or ())
    network, weights = import_onnx(model, name, batches, shapes, constants=constants)
    _write_import(output, network, weights)


@importers.command("torch")
def import_torch_module(
    factory: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:NAME",
            help="a torch.nn.Module, its class, or a function that makes it; importable from the current folder",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="for spec.yaml and weights")],
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input", metavar="SHAPE", help="of each input: 1x3x224x224, image=1x3x224x224 or 1x16:int64"
        ),
    ],
    checkpoint: Annotated[
        Optional[Path],
        typer.Option("--checkpoint", metavar="FILE", help="a saved state_dict to load before"),
    ] = None,
    name: Annotated[
        Optional[str], typer.Option("--name", help="the network's name; default: the factory's")
    ] = None,
    batch_sizes: Annotated[
        Optional[str],
        typer.Option("--batch-sizes", metavar="LIST", help="such as 1,8; default: the inputs' own"),
    ] = None,
) -> None:
    """Make spec.yaml and weights.safetensors from a PyTorch module."""
    from cnngen.spec.torch.command import import_from

    batches = None if batch_sizes is None else _numbers("--batch-sizes", batch_sizes, ",")
    network, weights = import_from(factory, inputs, checkpoint, name, batches)
    _write_import(output, network, weights)


def _write_import(output: Path, network: NetworkSpec, weights: Mapping[str, Array]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    save_weights(output / "weights.safetensors", weights)
    (output / "spec.yaml").write_text(dump_spec(network))
    print(output / "spec.yaml")


def _constant(text: str) -> tuple[str, Array]:
    """The name of an input and its value: whole numbers where all are."""
    import numpy as np

    tensor, equals, numbers = text.rpartition("=")
    try:
        values = [float(number) for number in numbers.split(",")]
    except ValueError:
        values = []
    if not equals or not values:
        raise typer.BadParameter(f"--constant: {text!r} is not INPUT=NUMBERS, such as sizes=1,3,64,64")
    whole = not set(numbers) & set(".eEni")
    return tensor, np.array(values, np.int64 if whole else np.float32)


def _numbers(option: str, text: str, separator: str) -> list[int]:
    numbers = text.split(separator)
    if not all(number.strip().isdecimal() and int(number) > 0 for number in numbers):
        raise typer.BadParameter(
            f"{option}: {text!r} is not a list of positive numbers with {separator!r} between"
        )
    return [int(number) for number in numbers]
