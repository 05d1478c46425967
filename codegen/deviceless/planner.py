"""Plans a built network for a described GPU, in a process that will run nothing: STUB PROJECT DEVICE.

Prints one line of JSON: {"rows": [[layer, batch, kind, engine, workspace], ...]} or {"error": text}. Run by its path.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path


def main() -> None:
    """Prints the plans, or what has none."""
    stub, project, device = sys.argv[1:]
    try:
        ctypes.CDLL("libcuda.so.1", ctypes.RTLD_GLOBAL)
    except OSError:
        ctypes.CDLL(stub, ctypes.RTLD_GLOBAL)
    import cnngen

    module = cnngen.load(project)
    try:
        rows = [tuple(row) for row in module.check_plans(Path(device).read_text())]
    except module.Error as error:
        print(json.dumps({"error": str(error)}))
    else:
        print(json.dumps({"rows": rows}))


main()
