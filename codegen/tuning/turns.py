"""Tunings on one GPU take turns."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnngen.codegen.architectures import bus_id


def cache_folder() -> Path:
    """Where tuning keeps what it compiles."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "cnngen" / "tuning"


@contextmanager
def gpu_to_itself(device: int) -> Iterator[None]:
    """Another process that tunes on the same GPU waits, so that neither measures what the other runs."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"gpu-{bus_id(device)}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
