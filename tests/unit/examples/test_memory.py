"""The memory that the examples' plans take, against what no plan can go below."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnngen.codegen.plan import BatchPlan, make_plan
from cnngen.spec import load_spec, resolve

CHECKOUT = Path(__file__).parents[3]


def plans(name: str) -> tuple[BatchPlan, ...]:
    """Sizes depend on shapes alone, so that any weights do."""
    spec = load_spec(CHECKOUT / "examples" / name / "spec.yaml")
    weights = {
        key: np.resize(np.arange(1, 8, dtype=np.float32), ref.shape)
        for key, ref in resolve(spec).weights.items()
    }
    return make_plan(spec, weights).batches


@pytest.mark.parametrize("name", ["tiny", "resnet50", "mobilenet_v2", "matting"])
def test_arena_is_close_to_the_largest_sum_of_live_bytes(name: str) -> None:
    for plan in plans(name):
        assert plan.arena.bytes <= 1.05 * plan.arena.live_bytes


def test_a_chain_takes_two_slots() -> None:
    """Matting is a chain: each value begins at the arena's start or ends at its end."""
    for plan in plans("matting"):
        arena = plan.arena
        assert arena.bytes == arena.live_bytes
        for buffer in arena.buffers:
            start = arena.offsets[buffer.values[0]]
            assert start == 0 or start + buffer.bytes == arena.bytes


def test_matting_takes_a_third_of_its_outputs() -> None:
    """The talk's figure: 50 of 141.8 MB."""
    for plan in plans("matting"):
        outputs = sum(node.value.bytes for node in plan.steps)
        assert plan.arena.bytes <= 0.36 * outputs
