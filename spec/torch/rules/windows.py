"""Operators that slide a window: convolutions and pools."""

from __future__ import annotations

import math
from collections.abc import Callable

from cnngen.spec.importing.draft import Draft, RefusalError
from cnngen.spec.torch.call import Call, Result, Rule
from cnngen.spec.torch.export import Tensor


def _spatial(call: Call) -> int:
    """How many axes a window of this operator has: conv2d has 2."""
    return int(next(letter for letter in call.op if letter.isdigit()))


def per_item(call: Call, x: Draft, axes: int, compute: Callable[[Draft], Draft]) -> Draft:
    """`compute` of an image with `axes` spatial axes; one without a batch becomes a batch of one and back."""
    if len(x.shape) == axes + 2:
        return compute(x)
    if len(x.shape) != axes + 1:
        raise RefusalError(f"its input {list(x.shape)} has not {axes + 2} axes")
    result = compute(call.reshape(x, (1, *x.shape)))
    return call.reshape(result, result.shape[1:])


def _numbers(values: list[int]) -> int | list[int]:
    """As the spec's layers take them: one number for one axis."""
    return values[0] if len(values) == 1 else values


def _sides(values: list[int]) -> list[int]:
    """The same padding before and after."""
    return values * 2


def _bias(call: Call) -> Tensor | None:
    return call.known("bias", "the bias")


def conv(call: Call) -> Draft:
    """conv1d, conv2d; padding may be "same" or "valid"."""
    axes = _spatial(call)
    weight = call.parameter("weight", "the weight")
    fields: dict[str, object] = {
        "out_channels": weight.array.shape[0],
        "kernel": _numbers(list(weight.array.shape[2:])),
    }
    padding = call.get("padding")
    if padding == "same":
        fields["padding"] = "same"
    elif padding != "valid" and any(call.integers("padding")):
        fields["padding"] = _sides(call.integers("padding", axes))
    for name in ("stride", "dilation"):
        if set(call.integers(name)) != {1}:
            fields[name] = _numbers(call.integers(name, axes))
    if call.integer("groups") != 1:
        fields["groups"] = call.integer("groups")
    return _weighted(call, f"conv{axes}d", axes, fields)


def conv_transpose(call: Call) -> Draft:
    """conv_transpose1d, conv_transpose2d."""
    axes = _spatial(call)
    weight = call.parameter("weight", "the weight")
    groups = call.integer("groups")
    fields: dict[str, object] = {
        "out_channels": weight.array.shape[1] * groups,
        "kernel": _numbers(list(weight.array.shape[2:])),
    }
    for name, plain in (("stride", 1), ("output_padding", 0), ("dilation", 1)):
        if set(call.integers(name)) != {plain}:
            fields[name] = _numbers(call.integers(name, axes))
    if any(call.integers("padding")):
        fields["padding"] = _sides(call.integers("padding", axes))
    if groups != 1:
        fields["groups"] = groups
    return _weighted(call, f"conv_transpose{axes}d", axes, fields)


def _weighted(call: Call, op: str, axes: int, fields: dict[str, object]) -> Draft:
    parameters = {"weight": call.parameter("weight", "the weight")}
    if call.known("bias", "the bias") is None:
        fields["bias"] = False
    else:
        parameters["bias"] = call.parameter("bias", "the bias")
    return per_item(call, call.tensor(), axes, lambda x: call.draft(op, [x], fields, parameters))


def convolution(call: Call) -> Draft:
    """The one operator that all convolutions become when they are decomposed."""
    weight = call.known("weight", "the weight")
    axes = weight.data.dim() - 2 if weight is not None else 0
    arguments = dict(call.arguments)
    kind = "conv_transpose" if arguments.pop("transposed") else "conv"
    if kind == "conv":
        arguments.pop("output_padding")
    if axes not in (1, 2):
        raise RefusalError(f"it is {axes}-D; only 1-D and 2-D convolutions are supported")
    again = Call(f"{kind}{axes}d", arguments, call.shape, call.dtype, call.name, call.builder)
    return conv(again) if kind == "conv" else conv_transpose(again)


def _window(call: Call, axes: int) -> dict[str, object]:
    """The fields of a pool, where they are not the default."""
    kernel = call.integers("kernel_size", axes)
    fields: dict[str, object] = {"kernel": _numbers(kernel)}
    stride = call.integers("stride", axes)
    if stride and stride != kernel:
        fields["stride"] = _numbers(stride)
    if any(call.integers("padding")):
        fields["padding"] = _sides(call.integers("padding", axes))
    if set(call.integers("dilation")) - {1}:
        fields["dilation"] = _numbers(call.integers("dilation", axes))
    if call.get("ceil_mode"):
        fields["ceil_mode"] = True
    return fields


def max_pool(call: Call) -> Draft:
    """max_pool1d, max_pool2d."""
    axes = _spatial(call)
    fields = _window(call, axes)
    return per_item(call, call.tensor(), axes, lambda x: call.draft(f"max_pool{axes}d", [x], fields))


def max_pool_with_indices(call: Call) -> Result:
    """max_pool1d_with_indices, max_pool2d_with_indices: the largest elements, and where they are."""
    axes = _spatial(call)
    fields = _window(call, axes)
    x = call.tensor()
    largest = per_item(call, x, axes, lambda x: call.draft(f"max_pool{axes}d", [x], fields))
    places = per_item(
        call, x, axes, lambda x: call.step(f"max_pool{axes}d_indices", [x], fields, dtype="int64")
    )
    return (largest, places)


def max_unpool(call: Call) -> Draft:
    """max_unpool2d, and what torch makes of max_unpool1d: a column."""
    x, indices = call.tensor(), call.tensor("indices")
    size = call.integers("output_size", 2)
    fields = _windows_behind(indices, size) | {"output_size": size}
    if len(x.shape) == 4:
        return call.draft("max_unpool2d", [x, indices], fields)
    inputs = [call.reshape(value, (1, *value.shape)) for value in (x, indices)]
    return call.reshape(call.draft("max_unpool2d", inputs, fields), call.shape)


def _windows_behind(indices: Draft, size: list[int]) -> dict[str, object]:
    """Kernel, stride and padding of the pool whose indices these are; torch does not say them again."""
    pool = indices
    while pool.op in ("reshape", "flatten"):
        pool = pool.inputs[0]
    if not pool.op.endswith("_indices"):
        raise RefusalError("its indices do not come from a max pool of the same module")
    plane = [*pool.inputs[0].shape[2:], 1][:2]
    if plane != size:
        raise RefusalError(f"its result {size} is not what the max pool has read, {plane}")
    if "dilation" in pool.fields:
        raise RefusalError("the max pool is dilated")
    fields: dict[str, object] = {
        name: pool.fields[name] for name in ("kernel", "stride", "padding") if name in pool.fields
    }
    if len(pool.shape) == 4:
        return fields
    outside = {"kernel": 1, "stride": 1, "padding": 0}  # across a column
    return {name: _across(value, outside[name]) for name, value in fields.items()}


def _across(value: object, other: int) -> list[object]:
    """A field of a 1-d pool as that of a column: 3 -> [3, 1], [left, right] -> [left, 0, right, 0]."""
    return [number for one in (value if isinstance(value, list) else [value]) for number in (one, other)]


def avg_pool(call: Call) -> Draft:
    """avg_pool1d, avg_pool2d."""
    axes = _spatial(call)
    fields = _window(call, axes)
    if call.get("divisor_override") is not None:
        return per_item(call, call.tensor(), axes, lambda x: _divided_pool(call, x, fields))
    if call.get("count_include_pad") and ("padding" in fields or "ceil_mode" in fields):
        fields["count_include_pad"] = True
    return per_item(call, call.tensor(), axes, lambda x: call.draft(f"avg_pool{axes}d", [x], fields))


def _divided_pool(call: Call, x: Draft, fields: dict[str, object]) -> Draft:
    """The sums of an avg_pool2d's windows by a divisor of its own: over an input whose zeros make all windows whole."""
    kernel = call.integers("kernel_size", 2)
    stride, before = call.integers("stride", 2) or kernel, call.integers("padding", 2)
    reach = [
        (count - 1) * step + size for count, step, size in zip(call.shape[-2:], stride, kernel, strict=True)
    ]
    after = [max(0, end - size - first) for end, size, first in zip(reach, x.shape[2:], before, strict=True)]
    if any(before + after):
        x = call.step("pad", [x], {"padding": before + after})
    window = {name: value for name, value in fields.items() if name in ("kernel", "stride")}
    factor = math.prod(kernel) / call.integer("divisor_override")
    return call.draft("mul", [call.step("avg_pool2d", [x], window)], {"value": factor})


def avg_pool_of_planes(call: Call) -> Draft:
    """avg_pool3d along the first of its three axes alone, as in torch's local_response_norm."""
    kernel, stride = call.integers("kernel_size", 3), call.integers("stride", 3)
    x = call.tensor()
    whole = call.get("ceil_mode") or call.get("divisor_override") or any(call.integers("padding"))
    if whole or kernel[1:] != [1, 1] or (stride or kernel)[1:] != [1, 1] or len(x.shape) != 5:
        return three_dimensional(call)
    planes = call.reshape(x, (*x.shape[:3], x.shape[3] * x.shape[4]))
    fields = {"kernel": kernel[:2], "stride": (stride or kernel)[:2]}
    return call.reshape(call.draft("avg_pool2d", [planes], fields), call.shape)


def adaptive_avg_pool(call: Call) -> Draft:
    """adaptive_avg_pool1d, adaptive_avg_pool2d."""
    return _adaptive(call, "avg")


def adaptive_max_pool(call: Call) -> Result:
    """adaptive_max_pool1d, adaptive_max_pool2d; their indices are not supported."""
    return (_adaptive(call, "max"), None)


def _adaptive(call: Call, kind: str) -> Draft:
    axes = _spatial(call)

    def compute(x: Draft) -> Draft:
        # None in the module keeps a size; torch has put it in here already
        size = call.integers("output_size", axes)
        if set(size) == {1}:
            return call.draft(f"global_{kind}_pool", [x])
        if all(extent % part == 0 for extent, part in zip(x.shape[2:], size, strict=True)):
            kernel = [extent // part for extent, part in zip(x.shape[2:], size, strict=True)]
            return call.draft(f"{kind}_pool{axes}d", [x], {"kernel": _numbers(kernel)})
        return call.draft(f"adaptive_{kind}_pool{axes}d", [x], {"output_size": _numbers(size)})

    return per_item(call, call.tensor(), axes, compute)


def three_dimensional(call: Call) -> Draft:  # noqa: ARG001 (a rule)
    """Refuses what has three spatial axes."""
    raise RefusalError("3-D operators are not supported")


def unfold(call: Call) -> Draft:
    """im2col, torch.nn.Unfold."""
    fields: dict[str, object] = {"kernel": call.integers("kernel_size", 2)}
    for name, plain in (("stride", 1), ("dilation", 1)):
        if set(call.integers(name)) != {plain}:
            fields[name] = call.integers(name, 2)
    if any(call.integers("padding")):
        fields["padding"] = _sides(call.integers("padding", 2))
    return per_item(call, call.tensor(), 2, lambda x: call.draft("unfold2d", [x], fields))


RULES: dict[str, Rule] = {
    "conv1d": conv,
    "conv2d": conv,
    "conv3d": three_dimensional,
    "conv_transpose1d": conv_transpose,
    "conv_transpose2d": conv_transpose,
    "conv_transpose3d": three_dimensional,
    "convolution": convolution,
    "max_pool1d": max_pool,
    "max_pool2d": max_pool,
    "max_pool3d": three_dimensional,
    "max_pool1d_with_indices": max_pool_with_indices,
    "max_pool2d_with_indices": max_pool_with_indices,
    "max_pool3d_with_indices": three_dimensional,
    "max_unpool2d": max_unpool,
    "max_unpool3d": three_dimensional,
    "avg_pool1d": avg_pool,
    "avg_pool2d": avg_pool,
    "avg_pool3d": avg_pool_of_planes,
    "adaptive_avg_pool1d": adaptive_avg_pool,
    "adaptive_avg_pool2d": adaptive_avg_pool,
    "_adaptive_avg_pool2d": adaptive_avg_pool,
    "adaptive_avg_pool3d": three_dimensional,
    "adaptive_max_pool1d": adaptive_max_pool,
    "adaptive_max_pool2d": adaptive_max_pool,
    "adaptive_max_pool3d": three_dimensional,
    "im2col": unfold,
}
