"""Runs ONNX models behind ONNX's own backend interface (`onnx.backend.base`).

    import onnx
    from cnngen import onnx_backend

    outputs = onnx_backend.prepare(onnx.load("model.onnx")).run([image])

What each call does: docs/onnx.md.
"""

from __future__ import annotations

from cnngen.codegen.onnx_backend import (
    Backend,
    Prepared,
    is_compatible,
    prepare,
    run_model,
    run_node,
    supports_device,
)

__all__ = ["Backend", "Prepared", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]
