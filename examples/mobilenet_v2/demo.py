#!/usr/bin/env python3
"""Builds MobileNetV2 from its spec and classifies a photo, on the GPU or, where there is none, on the CPU.

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
from cnngen.spec import CnngenError

FOLDER = Path(__file__).resolve().parent
CHECKOUT = FOLDER.parent.parent

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
    """Print the five most probable classes of a photo, uint8 [224, 224, 3], and what it ran on."""
    network = cnngen.load(project).Network()
    (probabilities,) = network((photo[None] - MEAN) / DEVIATION)
    names = CLASSES.read_text().splitlines()
    for index in np.argsort(-probabilities)[:5]:
        print(f"{probabilities[index]:6.1%}  {names[index]}")
    print(f"ran {network.summary().splitlines()[0]}")


def main() -> None:
    """Fetch, build, classify."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / "china.ppm"
    # The committed project is the GPU's; the CPU's is built where git does not look.
    output = CHECKOUT / ("generated" if gpus() else "build")
    try:
        photo = read_photo(path)
        with working("fetching weights and class names"):
            fetch()
        with working("generating and compiling"):
            result = cnngen.build(FOLDER / "spec.yaml", output)
        what = ", ".join(f"sm_{name}" for name in result.architectures) if gpus() else "the CPU"
        print(f"built {output.name}/{result.project.name} for {what}")
        classify(result.project, photo)
    except (CnngenError, FetchError, PhotoError, RuntimeError) as error:  # the last kind: the module's
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
