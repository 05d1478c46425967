"""What tests need of the machine that they run on, beside what a folder's marker says."""

from __future__ import annotations

import functools
from pathlib import Path

WITHOUT_BFLOAT16 = "needs a CPU with AVX-512, for oneDNN's bfloat16"


@functools.cache
def has_bfloat16() -> bool:
    """Whether oneDNN convolves and multiplies in bfloat16 here: from AVX-512 on, as docs/cpu.md says."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    return {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= {*flags}
