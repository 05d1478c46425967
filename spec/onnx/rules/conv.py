"""Convolutions."""

from __future__ import annotations

from cnngen.spec.importing.draft import Draft, Parameter, RefusalError
from cnngen.spec.onnx.node import Node
from cnngen.spec.onnx.rules.rule import Rule, sizes, spatial_axes


def window(node: Node, axes: int, kernel: list[int], stride: bool = False) -> dict[str, object]:
    """Kernel, stride, padding and dilation; a stride of 1 only where `stride` says so."""
    steps, pads = node.integers("strides") or [1] * axes, node.integers("pads") or [0] * (2 * axes)
    dilation = node.integers("dilations") or [1] * axes
    fields: dict[str, object] = {"kernel": sizes(kernel, axes, "kernel sizes")}
    if stride or any(step != 1 for step in steps):
        fields["stride"] = sizes(steps, axes, "strides")
    if any(step != 1 for step in dilation):
        fields["dilation"] = sizes(dilation, axes, "dilations")
    auto = node.text("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        fields["padding"] = "same" if auto == "SAME_UPPER" else "same_lower"
    elif auto in ("NOTSET", "") and any(pads):
        if len(pads) != 2 * axes or min(pads) < 0:
            raise RefusalError(f"its pads {pads} do not fit {axes} spatial axes, or are negative")
        fields["padding"] = pads
    elif auto not in ("NOTSET", "", "VALID"):
        raise RefusalError(f"auto_pad {auto!r} is not known")
    return fields


def conv(node: Node) -> Draft:
    """Conv."""
    x, weight = node.floats(), node.parameter(1, "the weight")
    axes = spatial_axes(x)
    fields = {"out_channels": weight.array.shape[0], **window(node, axes, list(weight.array.shape[2:]))}
    return _weighted(node, f"conv{axes}d", x, fields, weight)


def conv_transpose(node: Node) -> Draft:
    """ConvTranspose."""
    x, weight = node.floats(), node.parameter(1, "the weight")
    axes = spatial_axes(x)
    fields = window(node, axes, list(weight.array.shape[2:]))
    fields.pop("padding", None)
    fields |= _cut(node, x.shape[2:], list(weight.array.shape[2:]))
    groups = node.integer("group", 1)
    fields = {"out_channels": weight.array.shape[1] * groups, **fields}
    return _weighted(node, f"conv_transpose{axes}d", x, fields, weight)


def _weighted(node: Node, op: str, x: Draft, fields: dict[str, object], weight: Parameter) -> Draft:
    groups = node.integer("group", 1)
    if groups != 1:
        fields["groups"] = groups
    parameters = {"weight": weight}
    if node.value(2) is None:
        fields["bias"] = False
    else:
        parameters["bias"] = node.parameter(2, "the bias")
    return node.draft(op, [x], fields, parameters)


def _cut(node: Node, space: tuple[int, ...], kernel: list[int]) -> dict[str, object]:
    """What a transposed convolution cuts from its result and adds at its end, worked out from output_shape too."""
    axes = len(space)
    strides, dilations = node.integers("strides") or [1] * axes, node.integers("dilations") or [1] * axes
    more = node.integers("output_padding") or [0] * axes
    pads = node.integers("pads") or [0] * (2 * axes)
    target, auto = node.integers("output_shape"), node.text("auto_pad", "NOTSET")
    if target is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        target = [size * step for size, step in zip(space, strides, strict=True)]
    if target is not None:
        whole = [
            (size - 1) * step + (taps - 1) * dilation + 1 + extra
            for size, step, taps, dilation, extra in zip(space, strides, kernel, dilations, more, strict=True)
        ]
        total = [a - b for a, b in zip(whole, target[-axes:], strict=True)]
        more = [extra + max(-cut, 0) for extra, cut in zip(more, total, strict=True)]
        small, large = [max(cut, 0) // 2 for cut in total], [(max(cut, 0) + 1) // 2 for cut in total]
        pads = small + large if auto == "SAME_UPPER" else large + small
    fields: dict[str, object] = {}
    if any(pads):
        if len(pads) != 2 * axes or min(pads) < 0:
            raise RefusalError(f"its pads {pads} do not fit {axes} spatial axes, or are negative")
        fields["padding"] = pads
    if any(more):
        fields["output_padding"] = sizes(more, axes, "output paddings")
    return fields


RULES: dict[str, Rule] = {"Conv": conv, "ConvTranspose": conv_transpose}
