"""The wheel holds all that the checkout has to offer, and works without it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import cnngen

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what pip would install, from a wheel built out of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "-w", str(folder), str(ROOT)], cwd=folder, check=True
    )
    (wheel,) = folder.glob("*.whl")
    assert wheel.name == f"cnngen-{cnngen.__version__}-py3-none-any.whl"
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


@pytest.mark.parametrize(
    ("checkout", "inside"),
    [
        ("cnngen", "cnngen"),
        ("spec", "cnngen/spec"),
        ("codegen", "cnngen/codegen"),
        ("templates", "cnngen/templates"),
        ("include", "cnngen/include"),
        ("cmake", "cnngen/cmake"),
    ],
)
def test_every_file_is_in_it(installed: Path, checkout: str, inside: str) -> None:
    files = [path for path in (ROOT / checkout).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert files
    names = {path.relative_to(ROOT / checkout) for path in files}
    assert {name for name in names if not (installed / inside / name).is_file()} == set()


def test_nothing_is_beside_the_package(installed: Path) -> None:
    assert {path.name for path in installed.iterdir()} == {"cnngen", f"cnngen-{cnngen.__version__}.dist-info"}


def test_it_works_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    script = "import cnngen.codegen.cli as cli, cnngen.codegen.project as p; print(cli.__file__, p.RUNTIME)"
    # -S: without the .pth file through which an editable installation would answer.
    environment = {"PYTHONPATH": os.pathsep.join([str(installed), sysconfig.get_path("purelib")])}
    words = subprocess.check_output(
        [sys.executable, "-S", "-c", script], cwd=tmp_path, env=environment, text=True
    ).split()
    assert words == [str(installed / "cnngen/codegen/cli.py"), str(installed / "cnngen")]
