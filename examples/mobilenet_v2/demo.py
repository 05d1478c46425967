#!/usr/bin/env python3
"""Builds MobileNetV2 from its spec and classifies a photo; without a GPU, proves that an H100 would run it.

The photo is the one that lies here, or the one that is given: 224x224 PPM, or whatever Pillow reads.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from fetch import CLASSES, FetchError, fetch
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import cnngen
from cnngen.codegen.architectures import gpus
from cnngen.codegen.plan_check import check_plans
from cnngen.spec import CnngenError

FOLDER = Path(__file__).resolve().parent
GENERATED = FOLDER.parent.parent / "generated"
WITHOUT_GPU = "h100"

# Of ImageNet's photos, in red, green, blue from 0 to 255.
MEAN = np.array([123.675, 116.28, 103.53], np.float32)
DEVIATION = np.array([58.395, 57.12, 57.375], np.float32)


class PhotoError(Exception):
    """The photo cannot be read; says what to do."""


def read_photo(path: Path) -> np.ndarray:
    """The photo scaled to 224 x 224: uint8 [224, 224, 3]."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PhotoError(f"cannot read {path}: {error.strerror}") from error
    if data.startswith(b"P6\n224 224\n255\n"):
        return np.frombuffer(data, np.uint8, offset=len(data) - 224 * 224 * 3).reshape(224, 224, 3)
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise PhotoError(f"{path} is no 224x224 PPM; for other photos: pip install pillow") from None
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
    except (UnidentifiedImageError, OSError) as error:
        raise PhotoError(f"{path} is no photo that Pillow reads: {error}") from error


def working(what: str) -> Progress:
    """On a terminal, what is being done and for how long; nothing elsewhere."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    progress.add_task(what, total=None)
    return progress


def classify(project: Path, photo: np.ndarray) -> None:
    """Print the five most probable classes of a photo, uint8 [224, 224, 3]."""
    network = cnngen.load(project).Network()
    (probabilities,) = network((photo[None] - MEAN) / DEVIATION)
    names = CLASSES.read_text().splitlines()
    for index in np.argsort(-probabilities)[:5]:
        print(f"{probabilities[index]:6.1%}  {names[index]}")


def prove(project: Path) -> None:
    """Import the module and print that every convolution and matrix product has a plan on a GPU not here."""
    module = cnngen.load(project)
    print(f"imported {module.__name__}: {', '.join(module.INPUTS)} -> {', '.join(module.OUTPUTS)}")
    with working("planning for an H100"):
        reports = list(check_plans(project, [WITHOUT_GPU]))
    print(*reports, sep="\n")
    print("running it needs an NVIDIA GPU, and there is none here")


def main() -> None:
    """Fetch, build, and classify or prove."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / "china.ppm"
    present = gpus()
    try:
        photo = read_photo(path)
        with working("fetching weights and class names"):
            fetch()
        with working("generating and compiling"):
            result = cnngen.build(FOLDER / "spec.yaml", GENERATED, arch=None if present else ["90"])
        architectures = ", ".join(f"sm_{name}" for name in result.architectures)
        print(f"built generated/{result.project.name} for {architectures}")
        if present:
            classify(result.project, photo)
        else:
            prove(result.project)
    except (CnngenError, FetchError, PhotoError, RuntimeError) as error:  # the last kind: the module's
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
