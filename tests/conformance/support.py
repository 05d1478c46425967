"""Which operators cnngen knows, as a table that is made from what the importers and the targets do.

ONNX: what ONNX's own cases become. PyTorch: what the calls below become. Targets: what runs the step.
"""

from __future__ import annotations

import re
import textwrap
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from functools import cache

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cnngen.codegen import passes
from cnngen.codegen.lower import lower
from cnngen.codegen.onnx_backend import feeds_of, import_model
from cnngen.codegen.targets import TARGETS, TargetName
from cnngen.spec import ImportModelError, NetworkSpec
from cnngen.spec.onnx import import_onnx
from cnngen.spec.onnx.rules import RULES
from cnngen.spec.ops import OPS

from .cases import COUNTS, Array, node_cases, pytorch_cases
from .exclusions import reason

_SAME_NAME = """
    abs neg exp log sqrt rsqrt reciprocal floor ceil round erf sign
    sin cos tan asin acos atan sinh cosh asinh acosh atanh
"""
# How PyTorch says an op, over x [1, 4, 8, 8], s [1, 4, 8] or m [1, 6]; a module is named without its arguments.
CALLS: Mapping[str, tuple[str, ...]] = {
    "conv1d": ("nn.Conv1d(4, 8, 3)(s)",),
    "conv2d": ("nn.Conv2d(4, 8, 3)(x)",),
    "conv_transpose1d": ("nn.ConvTranspose1d(4, 8, 3)(s)",),
    "conv_transpose2d": ("nn.ConvTranspose2d(4, 8, 3)(x)",),
    "linear": ("nn.Linear(6, 3)(m)",),
    "matmul": ("torch.matmul(x, x)", "torch.bmm(s, s.transpose(1, 2))"),
    "max_pool1d": ("nn.MaxPool1d(2)(s)",),
    "max_pool2d": ("nn.MaxPool2d(2)(x)",),
    "max_pool1d_indices": ("nn.MaxPool1d(2, return_indices=True)(s)",),
    "max_pool2d_indices": ("nn.MaxPool2d(2, return_indices=True)(x)",),
    "max_unpool2d": ("F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)",),
    "avg_pool1d": ("nn.AvgPool1d(2)(s)",),
    "avg_pool2d": ("nn.AvgPool2d(2)(x)",),
    "adaptive_avg_pool1d": ("nn.AdaptiveAvgPool1d(3)(s)",),
    "adaptive_avg_pool2d": ("nn.AdaptiveAvgPool2d(3)(x)",),
    "adaptive_max_pool1d": ("nn.AdaptiveMaxPool1d(3)(s)",),
    "adaptive_max_pool2d": ("nn.AdaptiveMaxPool2d(3)(x)",),
    "global_avg_pool": ("nn.AdaptiveAvgPool2d(1)(x)",),
    "global_max_pool": ("nn.AdaptiveMaxPool2d(1)(x)",),
    "batch_norm": ("nn.BatchNorm2d(4)(x)",),
    "instance_norm": ("nn.InstanceNorm2d(4)(x)",),
    "group_norm": ("nn.GroupNorm(2, 4)(x)",),
    "layer_norm": ("nn.LayerNorm(8)(x)",),
    "rms_norm": ("nn.RMSNorm(8)(x)",),
    "lrn": ("nn.LocalResponseNorm(3)(x)",),
    "relu": ("nn.ReLU()(x)",),
    "relu6": ("nn.ReLU6()(x)",),
    "leaky_relu": ("nn.LeakyReLU()(x)",),
    "clip": ("torch.clamp(x, 0.1, 0.9)", "nn.Hardtanh()(x)"),
    "sigmoid": ("nn.Sigmoid()(x)",),
    "tanh": ("nn.Tanh()(x)",),
    "elu": ("nn.ELU()(x)",),
    "gelu": ("nn.GELU()(x)",),
    "softplus": ("nn.Softplus()(x)",),
    "silu": ("nn.SiLU()(x)",),
    "hard_sigmoid": ("nn.Hardsigmoid()(x)",),
    "hard_swish": ("nn.Hardswish()(x)",),
    "mish": ("nn.Mish()(x)",),
    "selu": ("nn.SELU()(x)",),
    "celu": ("nn.CELU(0.5)(x)",),
    "thresholded_relu": ("nn.Threshold(0.5, 0.0)(x)",),
    "shrink": ("nn.Hardshrink()(x)", "nn.Softshrink()(x)"),
    "is_nan": ("torch.isnan(x)",),
    "is_inf": ("torch.isinf(x)",),
    "cast": ("(x > 0).float()",),
    "prelu": ("nn.PReLU(4)(x)",),
    "add": ("torch.add(x, x)",),
    "mul": ("torch.mul(x, x)",),
    "minimum": ("torch.minimum(x, x.flip(2))",),
    "maximum": ("torch.maximum(x, x.flip(2))",),
    "sub": ("torch.sub(x, x.flip(2))",),
    "div": ("torch.div(x, x.flip(2))",),
    "pow": ("torch.pow(x, 3)",),
    "mod": ("torch.remainder(x, 3)", "torch.fmod(x, 3)"),
    "equal": ("torch.eq(x, 0)",),
    "greater": ("torch.gt(x, 0)",),
    "greater_or_equal": ("torch.ge(x, 0)",),
    "less": ("torch.lt(x, 0)",),
    "less_or_equal": ("torch.le(x, 0)",),
    "logical_and": ("torch.logical_and(x > 0, x < 1)",),
    "logical_or": ("torch.logical_or(x < 0, x > 1)",),
    "logical_xor": ("torch.logical_xor(x > 0, x > 1)",),
    "logical_not": ("torch.logical_not(x > 0)",),
    "where": ("torch.where(x > 0, x, x.flip(2))",),
    "concat": ("torch.cat([x, x], 1)", "torch.stack([s, s], 2)"),
    "pad": ("F.pad(x, (1, 2, 3, 4))",),
    "flatten": ("torch.flatten(x, 1)",),
    "reshape": ("x.view(1, 8, 4, 8)",),
    "transpose": ("x.permute(0, 2, 3, 1)",),
    "expand": ("x[:, :1].expand(1, 4, 8, 8)",),
    "tile": ("x.repeat(1, 2, 1, 1)",),
    "depth_to_space": ("nn.PixelShuffle(2)(x)",),
    "space_to_depth": ("nn.PixelUnshuffle(2)(x)",),
    "channel_shuffle": ("nn.ChannelShuffle(2)(x)",),
    "unfold2d": ("nn.Unfold(3)(x)",),
    "slice": ("x[:, 1:3]", "torch.split(x, 2, 1)"),
    "gather": ("torch.index_select(x, 1, torch.tensor([2, 0]))",),
    "flip": ("torch.flip(x, [2])",),
    "roll": ("torch.roll(x, 1, 2)",),
    "upsample": ("nn.Upsample(scale_factor=2)(x)",),
    "resize": ("F.interpolate(x, scale_factor=2, mode='bicubic')",),
    "grid_sample": ("F.grid_sample(x, x.permute(0, 2, 3, 1)[..., :2])",),
    "softmax": ("nn.Softmax(1)(x)",),
    "log_softmax": ("nn.LogSoftmax(1)(x)",),
    "reduce_mean": ("torch.mean(x, 1)",),
    "reduce_sum": ("torch.sum(x, 1)",),
    "reduce_max": ("torch.amax(x, 1)",),
    "reduce_min": ("torch.amin(x, 1)",),
    "reduce_prod": ("torch.prod(x, 1)",),
    "reduce_l1": ("torch.linalg.vector_norm(x, 1, 1)",),
    "reduce_l2": ("torch.linalg.vector_norm(x, 2, 1)",),
    "reduce_log_sum_exp": ("torch.logsumexp(x, 1)",),
    "argmax": ("torch.argmax(x, 1)",),
    "argmin": ("torch.argmin(x, 1)",),
    **{op: (f"torch.{op}(x)",) for op in _SAME_NAME.split()},
}

# Operators that become an op alone in forms that ONNX's cases do not have: attributes, shapes of inputs, outputs.
NODES: Mapping[str, tuple[str, Mapping[str, object], tuple[tuple[int, ...], ...], int]] = {
    "conv1d": ("Conv", {}, ((1, 4, 8), (8, 4, 3)), 1),
    "layer_norm": ("LayerNormalization", {}, ((1, 4, 8), (8,)), 1),
    "max_pool1d_indices": ("MaxPool", {"kernel_shape": [2]}, ((1, 4, 8),), 2),
    "max_pool2d_indices": ("MaxPool", {"kernel_shape": [2, 2]}, ((1, 4, 8, 8),), 2),
    "global_lp_pool": ("GlobalLpPool", {}, ((1, 4, 8, 8),), 1),
    "reduce_log_sum_exp": ("ReduceLogSumExp", {}, ((1, 4, 8, 8),), 1),
}

# Ops that neither ONNX's cases nor PyTorch's calls above become alone.
OWN: Mapping[str, tuple[Mapping[str, object], ...]] = {
    "lp_pool1d": ({"kernel": 2},),
    "max_unpool1d": (
        {"op": "max_pool1d", "kernel": 2},
        {"op": "max_pool1d_indices", "kernel": 2},
        {"kernel": 2},
    ),
    "dfl": ({"bins": 1},),
    "zeros": ({"shape": [4, 8]},),
    "swish": ({"alpha": 2.0},),
}

RESTRICTED = {
    "conv1d": "weights are constant",
    "conv2d": "weights are constant; three axes of space are refused",
    "conv_transpose1d": "weights are constant",
    "conv_transpose2d": "weights are constant; three axes of space are refused",
    "max_pool2d": "over three axes: as two pools",
    "avg_pool2d": "over three axes: as two pools",
    "batch_norm": "statistics are constant",
    "cast": "among float32, float16, bfloat16, int32, int64, uint8 and bool",
    "grid_sample": "two axes of space",
    "resize": "sizes that keep the aspect ratio: only whole ones",
}


PLUMBING = {"constant", "reshape", "flatten", "transpose", "identity", "cast", "expand", "slice"}
LIBRARIES = {"cudnn": "cuDNN", "cublaslt": "cuBLASLt", "onednn": "oneDNN"}

EVERY = (*node_cases(), *pytorch_cases())

Sample = tuple[NetworkSpec, Mapping[str, Array]]


@cache
def onnx_samples() -> Mapping[str, Mapping[tuple[str, ...], Sample]]:
    """Operator -> what its cases of one node become: the ops, without those that only arrange -> one such network.

    Each case counts twice: as it is, and with all inputs but the first as constants.
    """
    found: dict[str, dict[tuple[str, ...], Sample]] = defaultdict(dict)
    for case in node_cases():
        if case.group == "expanded" or len(case.model.graph.node) != 1 or reason(case) is not None:
            continue
        feeds = feeds_of(case.model, case.data_sets[0][0])
        for constants in ({}, dict(list(feeds.items())[1:])):
            with suppress(ImportModelError):
                shapes = {name: array.shape for name, array in feeds.items() if name not in constants}
                spec, weights = (
                    _imported(case.model, feeds)
                    if not constants
                    else import_onnx(
                        case.model, name="model", shapes=shapes, constants=constants, batched=False
                    )
                )
                ops = dict.fromkeys(layer.op for layer in spec.layers)
                kept = tuple(op for op in ops if op not in PLUMBING) or tuple(ops)
                found[case.operator].setdefault(kept, (spec, weights))
    return found


def _imported(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> Sample:
    imported = import_model(model, feeds)
    return imported.spec, imported.weights


@cache
def torch_sample(text: str) -> Sample:
    """What a call of CALLS becomes."""
    import torch
    from torch import nn
    from torch.nn import functional

    from cnngen.spec.torch import import_torch

    rng = torch.Generator().manual_seed(0)
    shapes = {"x": (1, 4, 8, 8), "s": (1, 4, 8), "m": (1, 6)}
    name = next(name for name in shapes if re.search(rf"\b{name}\b", text))
    names = {"torch": torch, "nn": nn, "F": functional}
    made = text.removesuffix(f"({name})") if text.startswith("nn.") else f"lambda {name}: {text}"
    module = eval(made, names)  # noqa: S307 (a text of this file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.export's, about itself
        return import_torch(module, torch.rand(shapes[name], generator=rng), name="call")


def node_sample(op: str) -> Sample:
    """What a node of NODES becomes; its inputs but the first are constants."""
    operator, attributes, shapes, outputs = NODES[op]
    names = ("x", "w", "b")[: len(shapes)]
    returns = [f"y{k}" for k in range(outputs)]
    types = dict.fromkeys(returns, TensorProto.FLOAT) | ({"y1": TensorProto.INT64} if outputs > 1 else {})
    graph = helper.make_graph(
        [helper.make_node(operator, names, returns, **attributes)],
        "node",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shapes[0])],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in types.items()],
        [
            numpy_helper.from_array(np.ones(shape, np.float32), name)
            for name, shape in zip(names[1:], shapes[1:], strict=True)
        ],
    )
    return import_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), name="node")


def own_sample(op: str) -> Sample:
    """The network of OWN: layers upon one input, the last of them reads all before it."""
    layers: list[dict[str, object]] = []
    for fields in OWN[op]:
        layers.append({"name": f"layer{len(layers)}", "op": op, "input": "x", **fields})
    if len(layers) > 1:
        del layers[-1]["input"]
        layers[-1]["inputs"] = [layer["name"] for layer in layers[:-1]]
    if op == "zeros":
        del layers[-1]["input"]
    spec = {"name": "own", "inputs": {"x": {"shape": [1, 4, 8]}}, "layers": layers}
    return NetworkSpec.model_validate(spec), {}


def runs_by(sample: Sample, op: str, target: TargetName) -> str:
    """What runs an op's steps: a library, a kernel of cnngen's, or nothing where it is a view or a constant."""
    spec, weights = sample
    layers = {layer.name for layer in spec.layers if layer.op == op}
    graph = lower(TARGETS[target].adapt(spec), weights, spec.batch_sizes[0] if spec.batched else 1)
    graph = passes.run(graph, target=TARGETS[target])
    forms = {node.form for node in graph.nodes if layers.intersection(node.layers)}
    return next((name for form, name in LIBRARIES.items() if form in forms), "kernel")


def table() -> str:
    """The text of docs/ops.md."""
    operators: dict[str, set[str]] = defaultdict(set)
    samples: dict[str, Sample] = {op: own_sample(op) for op in OWN}
    for operator, forms in sorted(onnx_samples().items()):
        for ops, sample in forms.items():
            first = ops[0].removesuffix("_indices")
            for op in ops if {op.removesuffix("_indices") for op in ops} == {first} else ():
                operators[op].add(operator)
                samples.setdefault(op, sample)
    for op, (operator, *_) in NODES.items():
        samples.setdefault(op, node_sample(op))
        operators[op].add(operator)
    samples |= {op: torch_sample(calls[0]) for op, calls in CALLS.items() if op not in samples}
    rows = [
        [
            f"`{op}`",
            ", ".join(sorted(operators[op])),
            ", ".join(f"`{called(text)}`" for text in CALLS.get(op, ())),
            *(runs_by(samples[op], op, target) for target in ("cuda", "cpu")),
            RESTRICTED.get(op, ""),
        ]
        for op in OPS
    ]
    shown = {operator for names in operators.values() for operator in names}
    composed = sorted(set(onnx_samples()) - shown)
    known = sorted(set(RULES) - set(onnx_samples()) - shown)
    out = Counter(case.group for case in EVERY if reason(case) is not None)
    passing = {group: f"{count - out[group]} of {count}" for group, count in COUNTS.items()}
    return TEXT.format(
        rows="\n".join(
            f"| {' | '.join(row)} |".replace("|  |", "| |").replace("|  |", "| |") for row in rows
        ),
        others=textwrap.fill(OTHERS.format(composed=", ".join(composed), known=", ".join(known)), 118),
        cases=textwrap.fill(CASES.format(all=len(EVERY) - out.total(), **passing), 118),
        reasons="\n".join(f"| {why} | {count} |" for why, count in left_out()),
    )


def left_out() -> list[tuple[str, int]]:
    """Why cases are left out, and how many, the most first."""
    whys = Counter(reason(case) for case in EVERY)
    del whys[None]
    return sorted(((str(why), count) for why, count in whys.items()), key=lambda item: (-item[1], item[0]))


def called(text: str) -> str:
    """The name of what a call calls."""
    if found := re.match(r"(?:nn|torch|F)\.[\w.]+", text):
        return found[0]
    method = re.search(r"\.(\w+)\(", text)
    return f"Tensor.{method[1]}" if method else "x[...]"


OTHERS = """\
These of ONNX's operators become several ops: {composed}. And without a case of their own that cnngen takes: {known}.
Shape arithmetic is evaluated at import, whatever its operators. Patterns that models spell out, such as SiLU,
HardSwish, GELU, LayerNorm, InstanceNorm, channel shuffle and DFL heads, become one op.
"""
CASES = """\
`tests/conformance` runs those of onnx 1.23 on the CPU target, {all} in all, and holds the others to be refused. Of the
cases of one CNN operator in float32 {single} pass, of those written out as function bodies {expanded}, of PyTorch's
{pytorch}.
"""
TEXT = """\
# Operators

Made from the code: `pytest tests/conformance/test_support.py --update-golden`. What an op's fields mean stands in
[layers.md](layers.md).

- **ONNX**: the operators that become the op and nothing else, in ONNX's own cases. Variants of form, such as a bound or
  a slope that data gives, may become others.
- **PyTorch**: a call that becomes it. `torch.export` turns many others into these.
- **cuda**, **cpu**: what runs it at float32: a library, or a kernel that cnngen writes. On CUDA grouped and
  depthwise convolutions run in kernels too. Many steps run in no kernel of their own: they fuse with their
  neighbours, are views, or are known at build time.

| op | ONNX | PyTorch | cuda | cpu | restricted |
|---|---|---|---|---|---|
{rows}

{others}

## ONNX's own cases

{cases}

| left out because of | cases |
|---|---|
{reasons}
"""
