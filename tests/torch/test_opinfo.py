"""torch's own samples of its operators (OpInfo): a seeded sample of 300 of the convolutions, pools, norms and resizes.

What is left out is left out for a reason that `excluded` states. All samples of an operator are one network.
"""

from __future__ import annotations

import functools
import random
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

from .agreement import assert_agrees, nn, torch

COUNT, SEED = 300, 20261123
FAMILIES = ("conv", "pool", "norm", "interpolate", "upsample")
ADAPTIVE = "nn.functional.adaptive_max_pool"


def excluded(name: str, sample: Any) -> str | None:  # noqa: ANN401 (torch's SampleInput)
    """Why a sample is none for cnngen; None: it is one."""
    tensors = [x for x in torch.utils._pytree.tree_leaves((sample.input, sample.args, sample.kwargs))
               if isinstance(x, torch.Tensor)]  # fmt: skip
    if "3d" in name or "trilinear" in name or (sample.input.dim() == 5 and "norm" not in name):
        return "three spatial axes"
    if any(tensor.numel() == 0 for tensor in tensors):
        return "a tensor without elements"
    if "fractional" in name:
        return "its windows are random"
    if "max_unpool" in name:
        return "indices that no pool of the network makes; test_operators.py has them with their pool"
    if name.startswith(ADAPTIVE) and (sample.kwargs.get("return_indices") or True in sample.args):
        return "indices of an adaptive pool"
    if "batch_norm" in name and (sample.kwargs.get("training") or sample.args[0] is None):
        return "training mode"
    if "instance_norm" in name and sample.kwargs.get("running_mean") is not None:
        return "training mode: running statistics are updated"
    if sample.kwargs.get("eps") is not None and sample.kwargs["eps"] < 0:
        return "a negative epsilon"
    return None


@functools.cache
def samples() -> tuple[dict[str, list[Any]], Counter[str]]:
    """The chosen samples by operator, and how many were left out why."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
    allowed: dict[str, list[Any]] = {}
    reasons: Counter[str] = Counter()
    for entry in op_db:
        name = entry.name + (f".{entry.variant_test_name}" if entry.variant_test_name else "")
        if not entry.name.startswith("nn.functional.") or not any(word in name for word in FAMILIES):
            continue
        torch.manual_seed(SEED)
        for sample in entry.sample_inputs("cpu", torch.float32):
            reason = excluded(name, sample)
            if reason is None:
                allowed.setdefault(name, []).append((entry.op, sample))
            else:
                reasons[reason] += 1
    return dict(_draw(allowed)), reasons


def _draw(allowed: dict[str, list[Any]]) -> Iterator[tuple[str, list[Any]]]:
    """As many of each operator as there are, up to what makes COUNT in all."""
    each = dict.fromkeys(allowed, 0)
    while sum(each.values()) < COUNT:
        name = min((name for name in allowed if each[name] < len(allowed[name])), key=lambda name: each[name])
        each[name] += 1
    for name, count in each.items():
        yield name, random.Random(SEED).sample(allowed[name], count)  # noqa: S311 (no secret)


class Sample(nn.Module):
    """A call of an operator; tensors besides the first are constants of the network, but a grid."""

    def __init__(self, op: Any, sample: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.op, self.arguments, self.keywords = op, sample.args, sample.kwargs

    def forward(self, x: object) -> object:
        kind = x.dtype
        arguments, keywords = torch.utils._pytree.tree_map(
            lambda leaf: leaf.to(kind) if isinstance(leaf, torch.Tensor) else leaf,
            (self.arguments, self.keywords),
        )
        return self.op(x, *arguments, **keywords)


class Together(nn.Module):
    """Many samples as one network."""

    def __init__(self, chosen: list[Any]) -> None:
        super().__init__()
        self.samples = nn.ModuleList(Sample(op, sample) for op, sample in chosen)

    def forward(self, *inputs: object) -> list[object]:
        return [sample(x) for sample, x in zip(self.samples, inputs, strict=True)]


def test_samples_are_as_many_as_promised() -> None:
    chosen, reasons = samples()
    assert sum(map(len, chosen.values())) == COUNT
    assert set(reasons) <= {
        "three spatial axes",
        "a tensor without elements",
        "its windows are random",
        "indices that no pool of the network makes; test_operators.py has them with their pool",
        "indices of an adaptive pool",
        "a negative epsilon",
        "training mode",
        "training mode: running statistics are updated",
    }


def test_samples() -> None:
    """Every operator's samples, each a network of its own; all failures at once."""
    failures = []
    for name, chosen in samples()[0].items():
        inputs = [sample.input.detach() for _, sample in chosen]
        try:
            assert_agrees(Together(chosen), *inputs)
        except Exception as error:  # noqa: BLE001 (told below)
            failures.append(f"{name}: {type(error).__name__}: {error}")
    assert not failures, "\n".join(failures)
