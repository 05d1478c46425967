"""bench/talk: the program compiles without a warning, and its convolutions are what they are called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnngen.codegen.plan_check import _stub, gpus

from .test_kernels import ROOT, cuda_root

sys.path.insert(0, str(ROOT / "bench"))

import talk


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cuda_root()  # skips where there is none
    return talk.build(tmp_path_factory.mktemp("talk"))


def offered(program: Path, **problem: object) -> dict[int, dict[str, object]]:
    """The engines for a described H100 by their number: what they note, and their workspace."""
    words = [f"{name}={value}" for name, value in problem.items()]
    # The no-op libcuda stands before a driver that may be there: nothing is run.
    done = subprocess.run(
        [str(program), "offered", str(gpus()["h100"]), *words],
        env={**os.environ, "LD_LIBRARY_PATH": str(_stub().parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {int(line["engine"].split()[1]): line for line in lines if "failed" not in line}


@pytest.mark.parametrize("r", [3, 11])
def test_channels_first_in_float32(program: Path, r: int) -> None:
    """Engine 2 is the GEMM: its workspace is a matrix of every window, 72 MiB for 3x3 as the talk has it."""
    engines = offered(program, h=128, w=128, c=128, k=128, r=r, dtype="float32", layout="NCHW")
    assert engines[2]["workspace"] == 128 * r * r * 128 * 128 * 4
    assert engines[0] == {"engine": "cudnn 0", "notes": [], "workspace": 0}
    assert any("tensor cores" in engine["notes"] for engine in engines.values())


@pytest.mark.parametrize("shape", talk.SHAPES)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_every_shape_has_engines_in_both_layouts(program: Path, shape: str, layout: str) -> None:
    engines = offered(program, **talk.SHAPES[shape], dtype="float16", layout=layout)
    assert any("tensor cores" in engine["notes"] for engine in engines.values())


def test_wrong_words_are_told(program: Path) -> None:
    for words, why in (([], "what is to be measured"), (["engines", "c"], "expected name=value")):
        done = subprocess.run([str(program), *words], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert why in done.stderr
