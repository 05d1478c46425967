"""docs/ops.md is what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from .support import CALLS, NODES, node_sample, table, torch_sample

OPS_MD = Path(__file__).resolve().parents[2] / "docs" / "ops.md"

pytest.importorskip("torch")


@pytest.mark.parametrize("op", CALLS)
def test_calls_of_pytorch_become_the_op(op: str) -> None:
    for call in CALLS[op]:
        assert op in [layer.op for layer in torch_sample(call)[0].layers], call


@pytest.mark.parametrize("op", NODES)
def test_nodes_of_onnx_become_the_op(op: str) -> None:
    assert op in [layer.op for layer in node_sample(op)[0].layers]


def test_the_table_is_what_the_code_says(update_golden: bool) -> None:
    text = table()
    if update_golden:
        OPS_MD.write_text(text)
    assert OPS_MD.read_text() == text
