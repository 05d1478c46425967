"""Operators that move data and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from cnngen.spec.importing.draft import Draft, Parameter, RefusalError
from cnngen.spec.manifest import Array
from cnngen.spec.torch.call import Call, Result, Rule, Value, shape_of
from cnngen.spec.torch.export import Tensor

_LISTED = 64  # so many indices are written into the spec; more of them stand in the weight file
_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def reshape(call: Call) -> Draft:
    """view, reshape, flatten, squeeze, unsqueeze and the like: the result's shape says it all."""
    return call.reshape(call.tensor(), call.shape)


def permute(call: Call) -> Draft:
    """permute, transpose, t."""
    x = call.tensor()
    rank = len(x.shape)
    axes = list(range(rank))
    if call.op == "permute":
        axes = [axis % rank for axis in call.integers("dims")]
    else:
        names = ("dim0", "dim1") if "dim0" in call.arguments else ()
        first, second = (call.axis(name, rank) for name in names) if names else (0, rank - 1)
        axes[first], axes[second] = axes[second], axes[first]
    return x if axes == sorted(axes) else call.draft("transpose", [x], {"axes": axes})


def cat(call: Call) -> Draft:
    """Cat."""
    values = [value for value in call.values("tensors") if 0 not in shape_of(value)]
    return _joined(call, [call.layer(value) for value in values], call.axis("dim", len(call.shape)))


def stack(call: Call) -> Draft:
    """Stack."""
    axis = call.axis("dim", len(call.shape))
    layers = [call.layer(value) for value in call.values("tensors")]
    shape = (*call.shape[:axis], 1, *call.shape[axis + 1 :])
    return _joined(call, [call.reshape(layer, shape) for layer in layers], axis)


def _joined(call: Call, layers: Sequence[Draft], axis: int) -> Draft:
    if len(layers) == 1:
        return layers[0]
    return call.draft("concat", layers, {} if axis == 1 else {"axis": axis})


def _part(call: Call, x: Draft, axis: int, start: int, end: int, step: int = 1) -> Draft:
    """A part of a tensor along an axis; all of it is itself."""
    if (start, end, step) == (0, x.shape[axis], 1):
        return x
    fields: dict[str, object] = {"axes": [axis], "starts": [start], "ends": [end]}
    return call.draft("slice", [x], fields if step == 1 else fields | {"steps": [step]})


def _range(call: Call, extent: int) -> range:
    """What slice takes: `start` and `end` may lie outside."""
    start, end = (None if call.get(name) is None else call.integer(name) for name in ("start", "end"))
    return range(extent)[start : end : call.integer("step")]


def slice_(call: Call) -> Draft:
    """Slice."""
    x = call.tensor()
    axis = call.axis("dim", len(x.shape))
    taken = _range(call, x.shape[axis])
    return _part(call, x, axis, taken.start, min(taken.stop, x.shape[axis]), taken.step)


def select(call: Call) -> Draft:
    """select: one index, whose axis disappears."""
    x = call.tensor()
    axis = call.axis("dim", len(x.shape))
    if x.shape[axis] == 1:
        return call.reshape(x, call.shape)
    fields: dict[str, object] = {"indices": call.integer("index") % x.shape[axis]}
    return call.draft("gather", [x], fields if axis == 1 else {"axis": axis, **fields})


def narrow(call: Call) -> Draft:
    """Narrow."""
    x = call.tensor()
    axis = call.axis("dim", len(x.shape))
    start = call.integer("start") % x.shape[axis]
    return _part(call, x, axis, start, start + call.integer("length"))


def split(call: Call) -> Result:
    """split, split_with_sizes, chunk."""
    x = call.tensor()
    axis = call.axis("dim", len(x.shape))
    extent = x.shape[axis]
    given = call.get("split_sizes" if "split_sizes" in call.arguments else "split_size")
    if "chunks" in call.arguments:
        given = -(-extent // call.integer("chunks"))
    if isinstance(given, int):
        given = [min(given, extent - start) for start in range(0, extent, given)]
    if not isinstance(given, (list, tuple)):
        raise RefusalError("its sizes are not known at import")
    ends = [int(end) for end in np.cumsum(given)]
    return tuple(
        _part(call, x, axis, end - size, end) if size else None for size, end in zip(given, ends, strict=True)
    )


def unbind(call: Call) -> Result:
    """unbind: every index of an axis, which disappears."""
    x = call.tensor()
    axis = call.axis("dim", len(x.shape))
    if x.shape[axis] == 1:
        return (call.reshape(x, call.shape),)
    return tuple(call.draft("gather", [x], {"axis": axis, "indices": k}) for k in range(x.shape[axis]))


def expand(call: Call) -> Draft:
    """Expand."""
    x = call.tensor()
    if x.shape == call.shape:
        return x
    new = len(call.shape) - len(x.shape)
    kept = [1 if new <= k and x.shape[k - new] == size else size for k, size in enumerate(call.shape)]
    return call.draft("expand", [x], {"shape": kept})


def repeat(call: Call) -> Draft:
    """repeat, tile."""
    x = call.tensor()
    repeats = call.integers("repeats" if "repeats" in call.arguments else "dims")
    repeats = [1] * (len(x.shape) - len(repeats)) + repeats
    x = call.reshape(x, (1,) * (len(repeats) - len(x.shape)) + x.shape)
    return x if set(repeats) == {1} else call.draft("tile", [x], {"repeats": repeats})


def repeat_interleave(call: Call) -> Draft:
    """repeat_interleave by one number."""
    if not isinstance(call.get("repeats"), int):
        raise RefusalError("repeats is a tensor; only a number is supported")
    x, times = call.tensor(), call.integer("repeats")
    if call.get("dim") is None:
        x = call.reshape(x, (math.prod(x.shape),))
    axis = 0 if call.get("dim") is None else call.axis("dim", len(x.shape))
    return _gathered(call, x, axis, np.repeat(np.arange(x.shape[axis]), times))


def _gathered(call: Call, x: Draft, axis: int, indices: Array, origin: str | None = None) -> Draft:
    """Elements along an axis by known indices."""
    indices = np.asarray(indices, np.int64)
    if indices.size == 0:
        raise RefusalError("it takes no elements")
    taken = indices % x.shape[axis]
    if taken.ndim == 1 and np.array_equal(taken, np.arange(x.shape[axis])):
        return x
    fields: dict[str, object] = {} if axis == 1 else {"axis": axis}
    if indices.size <= _LISTED:
        return call.draft("gather", [x], {**fields, "indices": taken.tolist()})
    fields |= {"indices_parameter": "indices", "indices_shape": list(taken.shape)}
    return call.draft("gather", [x], fields, {"indices": Parameter(taken, origin)})


def _known_indices(value: Value) -> torch.Tensor:
    if not isinstance(value, Tensor):
        raise RefusalError("its indices are computed from the inputs; they have to be constant")
    return value.data


def index_select(call: Call) -> Draft:
    """index_select."""
    x = call.tensor()
    indices = _known_indices(call.value("index")).reshape(-1)
    return _gathered(call, x, call.axis("dim", len(x.shape)), indices.numpy())


def index(call: Call) -> Draft:
    """x[indices] with known indices of neighbouring axes."""
    x = call.tensor()
    places: dict[int, torch.Tensor] = {}
    axis = 0
    given = call.get("indices")
    for value in given if isinstance(given, (list, tuple)) else ():
        if value is None:
            axis += 1
            continue
        known = _known_indices(value)
        for part in known.nonzero(as_tuple=True) if known.dtype == torch.bool else (known,):
            places[axis] = part
            axis += 1
    axes = sorted(places)
    if not axes or axes != list(range(axes[0], axes[-1] + 1)):
        raise RefusalError("only indices of neighbouring axes are supported")
    first, last = axes[0], axes[-1] + 1
    extents = x.shape[first:last]
    parts = torch.broadcast_tensors(*(places[axis] % x.shape[axis] for axis in axes))
    flat = np.ravel_multi_index([part.numpy() for part in parts], extents)
    merged = call.reshape(x, (*x.shape[:first], math.prod(extents), *x.shape[last:]))
    return _gathered(call, merged, first, np.asarray(flat))


def flip(call: Call) -> Draft:
    """Flip."""
    x = call.tensor()
    return call.draft("flip", [x], {"axes": [axis % len(x.shape) for axis in call.integers("dims")]})


def roll(call: Call) -> Draft:
    """roll; without axes over all elements in order."""
    x, shifts = call.tensor(), call.integers("shifts")
    axes = [axis % len(x.shape) for axis in call.integers("dims")]
    if not axes:
        flat = call.reshape(x, (math.prod(x.shape),))
        return call.reshape(call.draft("roll", [flat], {"axes": [0], "shifts": shifts}), x.shape)
    total = {axis: sum(s for a, s in zip(axes, shifts, strict=True) if a == axis) for axis in axes}
    return call.draft("roll", [x], {"axes": list(total), "shifts": list(total.values())})


def unfold(call: Call) -> Draft:
    """Tensor.unfold: windows along an axis, each in a new last axis."""
    x = call.tensor()
    rank = len(x.shape)
    axis, size, step = call.axis("dimension", rank), call.integer("size"), call.integer("step")
    starts = np.arange(0, x.shape[axis] - size + 1, step)
    windows = _gathered(call, x, axis, starts[:, None] + np.arange(size)[None])
    order = [k for k in range(rank + 1) if k != axis + 1] + [axis + 1]
    return windows if order == sorted(order) else call.draft("transpose", [windows], {"axes": order})


def select_scatter(call: Call) -> Draft:
    """X with one index of an axis replaced."""
    x, source = call.tensor(), call.tensor("src")
    axis = call.axis("dim", len(x.shape))
    start = call.integer("index") % x.shape[axis]
    part = call.reshape(source, (*x.shape[:axis], 1, *x.shape[axis + 1 :]))
    return _replaced(call, x, part, axis, start, start + 1)


def slice_scatter(call: Call) -> Draft:
    """X with a part of an axis replaced."""
    x, source = call.tensor(), call.tensor("src")
    axis = call.axis("dim", len(x.shape))
    taken = _range(call, x.shape[axis])
    if taken.step != 1:
        raise RefusalError("assigning to a slice with a step is not supported")
    return _replaced(call, x, source, axis, taken.start, taken.start + len(taken))


def _replaced(call: Call, x: Draft, source: Draft, axis: int, start: int, end: int) -> Draft:
    parts = [_part(call, x, axis, 0, start)] if start else []
    parts.append(source)
    if end < x.shape[axis]:
        parts.append(_part(call, x, axis, end, x.shape[axis]))
    return _joined(call, parts, axis)


def copy(call: Call) -> Value:
    """copy: `src` in the shape of `self`."""
    source = call.value("src")
    if isinstance(source, Tensor):
        return Tensor(source.data.expand(call.shape))
    return (
        source if source.shape == call.shape else call.draft("expand", [source], {"shape": list(call.shape)})
    )


def filled(value: float | None) -> Rule:
    """full_like and the like: a known number in a known shape."""

    def rule(call: Call) -> Tensor:
        number = call.get("value" if "value" in call.arguments else "fill_value") if value is None else value
        if isinstance(number, Tensor):
            number = number.data.item()
        if not isinstance(number, (bool, int, float)):
            raise RefusalError("it fills with a number that is computed from the inputs")
        return Tensor(torch.full(call.shape, number, dtype=getattr(torch, call.dtype)))

    return rule


def pad(call: Call) -> Draft:
    """pad, and its operators by mode and dimension."""
    x = call.tensor()
    rank = len(x.shape)
    amounts = call.integers("pad" if "pad" in call.arguments else "padding")
    mode = str(
        call.get("mode") or next((m for m in ("reflect", "replicat") if call.op.startswith(m)), "constant")
    )
    mode = _PAD_MODES["replicate" if mode == "replicat" else mode]
    pads = [[0, 0]] * rank
    for k in range(len(amounts) // 2):  # the last axis comes first
        pads[rank - 1 - k] = amounts[2 * k : 2 * k + 2]
    if not any(map(any, pads)):
        return x
    fields: dict[str, object] = {} if mode == "constant" else {"mode": mode}
    if call.get("value"):
        fields["value"] = call.real("value")
    if rank == 4 and not any(pads[0] + pads[1]) and min(pads[2] + pads[3]) >= 0:
        (top, bottom), (left, right) = pads[2], pads[3]
        return call.draft("pad", [x], {"padding": [top, left, bottom, right], **fields})
    return call.draft("pad", [x], {"pads": pads, **fields})


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        ("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze"), reshape
    ),
    **dict.fromkeys(("permute", "transpose", "t"), permute),
    "cat": cat,
    "stack": stack,
    "slice": slice_,
    "select": select,
    "narrow": narrow,
    "split": split,
    "split_with_sizes": split,
    "chunk": split,
    "unbind": unbind,
    "expand": expand,
    "repeat": repeat,
    "tile": repeat,
    "repeat_interleave": repeat_interleave,
    "index_select": index_select,
    "index": index,
    "flip": flip,
    "roll": roll,
    "unfold": unfold,
    "select_scatter": select_scatter,
    "slice_scatter": slice_scatter,
    "copy": copy,
    "fill": filled(None),
    "full_like": filled(None),
    "new_full": filled(None),
    "zeros_like": filled(0),
    "new_zeros": filled(0),
    "ones_like": filled(1),
    "new_ones": filled(1),
    "pad": pad,
    "constant_pad_nd": pad,
    **dict.fromkeys((f"{kind}_pad{axes}d" for kind in ("reflection", "replication") for axes in (1, 2)), pad),
}
