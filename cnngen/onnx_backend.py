"""Runs ONNX models behind ONNX's own backend interface (`onnx.backend.base`); what each call does: docs/onnx.md.

    import onnx
    from cnngen import onnx_backend

    outputs = onnx_backend.prepare(onnx.load("model.onnx")).run([image])
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
