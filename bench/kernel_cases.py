"""What bench/kernels.py times: networks of a layer or two, each about one kernel of our own.

Float16, channels last, 64 images unless a case says otherwise; input and output together are several times what a GPU
keeps in its cache. All cases are one spec, so that one build serves them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cnngen.codegen import expr as ex
from cnngen.codegen.graph import LIBRARIES, Graph, Node, is_view
from cnngen.codegen.node_ops import Pointwise
from cnngen.spec import NetworkSpec

BATCH, SMALL_BATCH = 64, 2
SMALL = {3: (1152, 15, 14), 2: (24, None)}  # the largest extents of a small case, by their number; None: any
Layer = Mapping[str, Any]


@dataclass(frozen=True)
class KernelCase:
    """A network of its own.

    inputs: the shapes without the batch, or mappings with a type and a layout too
    layers: the last one is the output, others are read by their numbers
    forms: what rewrites make of it, by their names, where it is not what they would
    """

    name: str
    inputs: Mapping[str, Any]
    layers: Sequence[Layer]
    output: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[str, str] = field(default_factory=dict)


def conv(name: str, *more: Layer, channels: int = 128, size: int = 112, **fields: Any) -> KernelCase:
    """A depthwise convolution, unless `groups` says otherwise; `more`: layers after it, which may read an input r."""
    reach = (fields.get("kernel", 3) - 1) * fields.get("dilation", 1)
    layer = {"op": "conv2d", "kernel": 3, "padding": reach // 2, "groups": channels, "out_channels": channels}
    shape = (channels, size, size)
    return KernelCase(name, {"x": shape} | ({"r": shape} if more else {}), [layer | fields, *more])


def dense(name: str, size: int, channels: int, filters: int, **fields: Any) -> KernelCase:
    """A convolution of all channels, by the kernels of our own on tensor cores."""
    layer = {"op": "conv2d", "kernel": 1, "out_channels": filters, "padding": fields.get("kernel", 1) // 2}
    return KernelCase(name, {"x": (channels, size, size)}, [layer | fields])


def one(name: str, op: str, *shape: int, **fields: Any) -> KernelCase:
    return KernelCase(name, {"x": shape}, [{"op": op, **fields}])


def image(name: str, dtype: str, layout: str) -> KernelCase:
    """A photo's conversion: normalised, and a fourth channel of zeros."""
    layers = [
        {"op": "sub", "parameter": "mean"},
        {"op": "div", "parameter": "deviation"},
        {"op": "pad", "pads": [[0, 0], [0, 1], [0, 0], [0, 0]]},
    ]
    return KernelCase(name, {"x": {"shape": (3, 512, 512), "dtype": dtype, "layout": layout}}, layers)


MAP = (128, 112, 112)
SQUEEZE_EXCITE = (
    {"x": (96, 112, 112)},
    [
        {"op": "global_avg_pool"},
        {"op": "conv2d", "kernel": 1, "out_channels": 4, "activation": "silu"},
        {"op": "conv2d", "kernel": 1, "out_channels": 96, "activation": "sigmoid"},
        {"op": "mul", "inputs": ["x", "2"]},
    ],
)
CASES = (
    conv("depthwise 3x3"),
    conv("depthwise 3x3 s2", stride=2, channels=192),
    conv("depthwise 3x3 d2", dilation=2),
    conv("depthwise 3x3 relu6", activation="relu6", channels=96),
    conv("depthwise 3x3 silu", activation="silu"),
    conv("depthwise 3x3 residual", {"op": "add", "inputs": ["0", "r"]}),
    conv("depthwise 3x3 28x28", channels=1152, size=28),
    conv("depthwise 5x5", kernel=5, activation="silu"),
    conv("depthwise 5x5 s2", kernel=5, stride=2, activation="silu", channels=192),
    conv("depthwise 7x7", kernel=7),
    conv("depthwise 7x7 s2", kernel=7, stride=2, channels=192),
    conv("grouped 3x3", groups=32, activation="relu"),
    dense("expansion 1x1", 112, 16, 96, activation="relu6"),
    dense("expansion 1x1 silu", 56, 40, 240, activation="silu"),
    dense("projection 1x1", 56, 144, 24),
    dense("few filters 3x3", 112, 64, 3, kernel=3),
    dense("one filter 5x5", 160, 64, 1, kernel=5, activation="sigmoid"),
    dense("folded stem", 112, 16, 32, kernel=3, activation="relu"),
    *(
        KernelCase(f"squeeze and excite, {form}", *SQUEEZE_EXCITE, forms={"fuse_squeeze_excite": form})
        for form in ("fused", "fused_scaled")
    ),
    KernelCase(
        "classes 1x1 with softmax",
        {"x": (256, 112, 112)},
        [{"op": "conv2d", "kernel": 1, "out_channels": 21}, {"op": "softmax", "axis": 1}],
        forms={"fuse_softmax": "fused"},
    ),
    KernelCase(
        "max pool pyramid",
        {"x": (256, 40, 40)},
        [
            {"op": "max_pool2d", "kernel": 5, "stride": 1, "padding": 2},
            {"op": "max_pool2d", "kernel": 5, "stride": 1, "padding": 2},
            {"op": "max_pool2d", "kernel": 5, "stride": 1, "padding": 2},
            {"op": "concat", "inputs": ["x", "0", "1", "2"]},
        ],
        forms={"fuse_max_pools": "fused"},
    ),
    one("max pool 2x2", "max_pool2d", 256, 112, 112, kernel=2),
    one("max pool 3x3 s2", "max_pool2d", 256, 112, 112, kernel=3, stride=2, padding=1),
    one("max pool 5x5", "max_pool2d", *MAP, kernel=5, stride=1, padding=2),
    one("average pool 2x2", "avg_pool2d", 256, 112, 112, kernel=2),
    one("average pool 3x3", "avg_pool2d", *MAP, kernel=3, stride=1, padding=1),
    one("global mean", "global_avg_pool", *MAP),
    one("global mean 7x7", "global_avg_pool", 32768, 7, 7),
    one("sum over channels", "reduce_sum", *MAP, axes=[1]),
    one("layer norm", "layer_norm", 2048, 768),
    one("softmax over channels", "softmax", 32, 224, 224, axis=1),
    one("softmax over 21 channels", "softmax", 21, 256, 256, axis=1),
    one("softmax over rows", "softmax", 1600, 1000),
    KernelCase(
        "arg max", {"x": (32, 224, 224)}, [{"op": "argmax", "axis": 1}], {"dtype": "int32", "layout": "NCHW"}
    ),
    one("nearest x2", "upsample", 128, 56, 56, scale=2),
    one("bilinear x2", "upsample", 128, 56, 56, scale=2, mode="bilinear"),
    one("instance norm", "instance_norm", *MAP, affine=True),
    one("instance norm few channels", "instance_norm", 8, 448, 448),
    KernelCase(
        "spade",
        dict.fromkeys(("x", "gamma", "beta"), (64, 112, 112)),
        [
            {"op": "add", "value": 1, "input": "gamma"},
            {"op": "mul", "inputs": ["x", "0"]},
            {"op": "add", "inputs": ["1", "beta"]},
        ],
    ),
    one("depth to space", "depth_to_space", 512, 56, 56, block=2),
    one("pixel shuffle", "depth_to_space", 512, 56, 56, block=2, mode="crd"),
    KernelCase(
        "concat",
        dict.fromkeys("ab", (64, 112, 112)),
        [{"op": "concat", "inputs": ["a", "b"]}],
    ),
    KernelCase(
        "add relu",
        dict.fromkeys("ab", (64, 112, 112)),
        [{"op": "add", "inputs": ["a", "b"]}, {"op": "relu"}],
    ),
    KernelCase(
        "gate",
        {"x": MAP, "gate": (128, 1, 1)},
        [{"op": "sigmoid", "input": "gate"}, {"op": "mul", "inputs": ["x", "0"]}],
    ),
    one("silu of 21 channels", "silu", 21, 256, 256),
    image("photo float32 NCHW", "float32", "NCHW"),
    image("photo uint8 NHWC", "uint8", "NHWC"),
    KernelCase("NCHW to NHWC", {"x": {"shape": MAP, "layout": "NCHW"}}, [{"op": "relu"}]),
    KernelCase("NHWC to NCHW", {"x": MAP}, [{"op": "relu"}], {"layout": "NCHW", "dtype": "float32"}),
    one("transpose", "transpose", 1024, 1568, axes=[0, 2, 1]),
)


def spec_of(cases: Sequence[KernelCase], *, small: bool = False) -> NetworkSpec:
    """One network of all cases. `small`: for a sanitizer, under which kernels are a hundred times slower."""
    batch = SMALL_BATCH if small else BATCH
    inputs: dict[str, Any] = {}
    layers: list[Layer] = []
    outputs = []
    for case in cases:
        for name, declared in case.inputs.items():
            fields = declared if isinstance(declared, Mapping) else {"shape": declared}
            shape = [batch, *(_cut(fields["shape"]) if small else fields["shape"])]
            inputs[f"{case.name}/{name}"] = {"dtype": "float16", **_layout(shape), **fields, "shape": shape}
        layers += [_named(case, number, layer) for number, layer in enumerate(case.layers)]
        outputs.append({"layer": case.name, "dtype": "float16", **_layout(shape), **case.output})
    return NetworkSpec.model_validate(
        {
            "name": "kernel_bench",
            "inputs": inputs,
            "precision": "float16",
            "batch_sizes": [batch],
            "weights": "kernel_bench.safetensors",
            "layers": layers,
            "outputs": outputs,
        }
    )


def _layout(shape: Sequence[int]) -> dict[str, str]:
    return {"layout": "NHWC"} if len(shape) == 4 else {}


def _cut(shape: Sequence[int]) -> list[int]:
    limits = SMALL[len(shape)]
    return [size if most is None else min(size, most) for size, most in zip(shape, limits, strict=True)]


def _named(case: KernelCase, number: int, layer: Layer) -> Layer:
    """The layer under its name in the network, with the names of what it reads there."""
    fields = dict(layer)
    if number == 0 and not {"input", "inputs"} & fields.keys():
        fields["input"] = "x"
    for key in {"input", "parameter"} & fields.keys():
        fields[key] = f"{case.name}/{fields[key]}"
    if "inputs" in fields:
        fields["inputs"] = [f"{case.name}/{name}" for name in fields["inputs"]]
    last = number == len(case.layers) - 1
    return {"name": case.name if last else f"{case.name}/{number}", **fields}


def forms_of(graph: Graph, cases: Sequence[KernelCase]) -> dict[tuple[str, str], str]:
    """What the cases want of the sites where their network could have been rewritten otherwise."""
    owners = {case.name: case for case in cases}
    wanted = {
        site.key: owners[site.layers[0].partition("/")[0]].forms.get(site.rewrite) for site in graph.sites
    }
    return {key: form for key, form in wanted.items() if form is not None}


def timed_steps(graph: Graph, cases: Sequence[KernelCase]) -> list[tuple[KernelCase, Node]]:
    """The kernels that the cases are about: all but mere copies of inputs and outputs."""
    owners = {case.name: case for case in cases}
    steps = [node for node in graph.nodes if not is_view(node) and node.form not in LIBRARIES]
    return [(owners[node.layers[0].partition("/")[0]], node) for node in steps if not _is_copy(node, graph)]


def _is_copy(node: Node, graph: Graph) -> bool:
    if not isinstance(node.op, Pointwise) or len(node.inputs) != 1:
        return False
    source, value = graph.values[node.inputs[0]], node.value
    here = ex.broadcast_load(0, source.shape, len(value.shape))
    return node.epilogue == here and source.lies_like(value) and source.dtype == value.dtype
