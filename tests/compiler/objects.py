"""Objects of sources that many tests share, kept by what they are made of."""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUNTIME = HERE / "runtime"
INCLUDE = HERE.parent.parent / "include"


def run(*command: str | Path) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stderr[-8000:]}"
    return done.stdout


def compiled(compiler: str, source: Path, flags: Sequence[str]) -> Path:
    """The object of a source of `include` or `runtime`."""
    key = hashlib.sha256(repr((compiler, str(source), flags, sys.version)).encode())
    for folder in (INCLUDE, RUNTIME):
        for path in sorted(folder.rglob("*.?pp")):
            key.update(path.read_bytes())
    kept = Path(tempfile.gettempdir()) / f"cnngen-objects-{os.getuid()}"
    kept.mkdir(exist_ok=True)
    made = kept / f"{source.stem}-{key.hexdigest()[:16]}.o"
    with (kept / f"{made.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            run(compiler, *flags, "-c", source, "-o", f"{made}.part")
            Path(f"{made}.part").replace(made)
    return made


@cache
def precompiled(header: Path, *flags: str) -> tuple[str, str]:
    """What makes g++ with these flags begin with a header that takes seconds to read: it is compiled once a process."""
    folder = Path(tempfile.mkdtemp(prefix="cnngen-header-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    first = folder / header.name
    first.write_text(f'#include "{header}"\n')
    run("g++", *flags, "-x", "c++-header", first, "-o", f"{first}.gch")
    return "-include", str(first)
