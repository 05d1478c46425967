"""Random small specs with every op: what is written is read back as it was."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnngen.spec.network import NetworkSpec
from cnngen.spec.ops import OPS, Binary
from cnngen.spec.resolve import Resolved, resolve
from cnngen.spec.yaml_io import dump_spec, parse_spec

PLAIN_ACTIVATIONS = [
    "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "elu", "gelu", "softplus", "silu", "hard_sigmoid",
    "hard_swish", "mish", "selu", "celu", "softsign", "thresholded_relu", "shrink", "swish", "prelu", "identity",
]  # fmt: skip
INPUTS = {"matmul": (2, 2), "max_unpool1d": (2, 2), "max_unpool2d": (2, 2), "grid_sample": (2, 2), "where": (3, 3),
          "concat": (2, 3), "mean": (1, 3)}  # fmt: skip
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8)

_size = st.one_of(st.integers(1, 3), st.lists(st.integers(1, 3), min_size=2, max_size=2))
_padding = st.one_of(
    st.integers(0, 2),
    st.lists(st.integers(0, 2), min_size=2, max_size=2),
    st.lists(st.integers(0, 2), min_size=4, max_size=4),
    st.sampled_from(["same", "same_lower"]),
)
_sides = _padding.filter(lambda padding: not isinstance(padding, str))
_padding1 = st.one_of(
    st.integers(0, 2),
    st.lists(st.integers(0, 2), min_size=2, max_size=2),
    st.sampled_from(["same", "same_lower"]),
)
_size1, _power = st.integers(1, 3), st.sampled_from([1.0, 2.0, 3.5])
_real = st.floats(-4, 4, allow_nan=False)
_activation = st.one_of(
    st.none(),
    st.sampled_from(PLAIN_ACTIVATIONS[:-2]),
    st.builds(lambda slope: {"op": "leaky_relu", "slope": slope}, _real),
    st.builds(lambda low, high: {"op": "clip", "min": low, "max": high}, st.floats(-4, 0), st.floats(0, 4)),
)

_POOL1D = {
    "kernel": _size1,
    "stride": _size1,
    "padding": _padding1,
    "dilation": _size1,
    "ceil_mode": st.booleans(),
}
_POOL2D = {
    "kernel": _size,
    "stride": _size,
    "padding": _padding,
    "dilation": _size,
    "ceil_mode": st.booleans(),
}
_REDUCTION = {"axes": st.lists(st.integers(1, 3), min_size=1, unique=True), "keepdims": st.booleans()}

FIELDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "conv2d": {
        "out_channels": st.integers(1, 3), "kernel": _size, "stride": _size, "padding": _padding,
        "dilation": _size, "bias": st.booleans(), "activation": _activation,
    },
    "conv1d": {
        "out_channels": st.integers(1, 3), "kernel": _size1, "stride": _size1, "padding": _padding1,
        "dilation": _size1, "bias": st.booleans(), "activation": _activation,
    },
    "conv_transpose1d": {
        "out_channels": st.integers(1, 3), "kernel": _size1, "stride": _size1, "output_padding": st.integers(0, 1),
        "padding": _padding1.filter(lambda padding: not isinstance(padding, str)), "bias": st.booleans(),
    },
    "conv_transpose2d": {
        "out_channels": st.integers(1, 3), "kernel": _size, "stride": _size, "padding": _sides,
        "output_padding": st.integers(0, 1), "dilation": _size, "activation": _activation,
    },
    "matmul": {"transpose_a": st.booleans(), "transpose_b": st.booleans()},
    "linear": {"out_features": st.integers(1, 4), "bias": st.booleans(), "activation": _activation},
    **dict.fromkeys(("max_pool1d", "max_pool1d_indices"), _POOL1D),
    **dict.fromkeys(("max_pool2d", "max_pool2d_indices"), _POOL2D),
    "avg_pool1d": {**_POOL1D, "count_include_pad": st.booleans()},
    "avg_pool2d": {**_POOL2D, "count_include_pad": st.booleans()},
    "lp_pool1d": {**_POOL1D, "p": _power},
    "lp_pool2d": {**_POOL2D, "p": _power},
    "max_unpool1d": {"kernel": _size1, "stride": _size1},
    "max_unpool2d": {"kernel": _size, "stride": _size, "padding": _sides},
    **{key: {"output_size": _size1} for key in ("adaptive_avg_pool1d", "adaptive_max_pool1d")},
    **{key: {"output_size": _size} for key in ("adaptive_avg_pool2d", "adaptive_max_pool2d")},
    **{key: {"keepdims": st.booleans()} for key in ("global_avg_pool", "global_max_pool")},
    "global_lp_pool": {"keepdims": st.booleans(), "p": _power},
    "instance_norm": {"epsilon": st.floats(0, 1), "affine": st.booleans()},
    "group_norm": {"groups": st.integers(1, 3), "affine": st.booleans()},
    "layer_norm": {"axis": st.sampled_from([1, -1]), "affine": st.booleans(), "bias": st.booleans()},
    "rms_norm": {"axis": st.sampled_from([1, -1]), "affine": st.booleans()},
    "lrn": {"size": _size1, "alpha": _real, "beta": _real, "bias": _real},
    "lp_norm": {"axis": st.sampled_from([1, -1]), "p": _power},
    "log_softmax": {"axis": st.sampled_from([1, -1])},
    "dfl": {"bins": st.integers(1, 3)},
    **{op: _REDUCTION for op in OPS if op.startswith("reduce_")},
    **{op: {"axis": st.integers(1, 3), "keepdims": st.booleans()} for op in ("argmax", "argmin")},
    "batch_norm": {"epsilon": st.floats(0, 1), "affine": st.booleans()},
    **{op: {} for op in PLAIN_ACTIVATIONS},
    "leaky_relu": {"slope": _real},
    "clip": {"min": st.floats(-4, 0), "max": st.floats(0, 4)},
    "elu": {"alpha": _real},
    "gelu": {"approximate": st.sampled_from(["none", "tanh"])},
    "hard_sigmoid": {"alpha": _real, "beta": _real},
    "prelu": {"shared": st.booleans()},
    **{op: {"value": _real | st.just(-math.inf)} for op in OPS if issubclass(OPS[op], Binary)},
    "mod": {"value": _real, "fmod": st.booleans(), "reverse": st.booleans()},
    "celu": {"alpha": st.floats(0.5, 4)},
    "selu": {"alpha": _real, "gamma": _real},
    "shrink": {"bias": _real, "lambd": _real},
    "softplus": {"beta": st.floats(0.5, 4)},
    **{op: {"alpha": _real} for op in ("thresholded_relu", "swish")},
    "is_inf": {"positive": st.booleans(), "negative": st.booleans()},
    "cast": {"to": st.sampled_from(["float32", "float16", "bfloat16", "int32", "int64", "uint8", "bool"])},
    "slice": {
        "axes": st.just([1, -1]), "starts": st.just([None, -2]), "ends": st.just([2, None]),
        "steps": st.sampled_from([[1, 2], [1, -1]]),
    },
    "gather": {"axis": st.integers(1, 3), "indices": st.sampled_from([0, [0], [[0, -1]]])},
    "flip": {"axes": st.just([-1, 1])},
    "roll": {"axes": st.just([1]), "shifts": st.lists(st.integers(-3, 3), min_size=1, max_size=1)},
    "tile": {"repeats": st.permutations([1, 2, 3]).map(lambda repeats: [1, *repeats])},
    "expand": {"shape": st.just([1, 1])},
    **{op: {"block": _size1, "mode": st.sampled_from(["dcr", "crd"])} for op in ("depth_to_space", "space_to_depth")},
    "channel_shuffle": {"groups": _size1},
    "unfold2d": {"kernel": _size, "stride": _size, "padding": _padding, "dilation": _size},
    "resize": {
        "sizes": st.lists(st.integers(1, 4), min_size=2, max_size=2), "mode": st.sampled_from(["nearest", "cubic"]),
        "coordinates": st.sampled_from(["asymmetric", "align_corners"]), "nearest": st.sampled_from(["floor", "ceil"]),
        "antialias": st.booleans(), "exclude_outside": st.booleans(), "cubic_coeff": _real,
    },
    "grid_sample": {"mode": st.sampled_from(["bilinear", "nearest"]), "align_corners": st.booleans()},
    "fill": {"shape": st.lists(st.integers(1, 3), min_size=3, max_size=3), "value": _real},
    "constant": {"shape": st.lists(st.integers(1, 3), min_size=3, max_size=3), "parameter": NAMES},
    "upsample": {"scale": _size, "mode": st.sampled_from(["nearest", "bilinear"])},
    "pad": {"padding": _padding.filter(lambda p: not isinstance(p, str)), "value": _real},
    "flatten": {"axis": st.integers(1, 3)},
    "softmax": {"axis": st.sampled_from([1, -1])},
    "transpose": {"axes": st.permutations([1, 2, 3]).map(lambda axes: [0, *axes])},
    "reshape": {"shape": st.just([0, -1])},
    "zeros": {"shape": st.lists(st.integers(1, 3), min_size=3, max_size=3)},
    "concat": {"axis": st.just(1)},
}  # fmt: skip
FIELDS |= {
    op: {}
    for op, cls in OPS.items()
    if op not in FIELDS and not any(f.is_required() for name, f in cls.model_fields.items() if name != "name")
}


@st.composite
def specs(draw: st.DrawFn) -> NetworkSpec:
    """A spec that resolves: layers are drawn, and dropped when the shapes before them do not fit."""
    names = draw(st.lists(NAMES, min_size=3, max_size=12, unique=True))
    shape = [draw(st.integers(1, 3)), *draw(st.lists(st.integers(1, 6), min_size=3, max_size=3))]
    inputs = {names[0]: {"shape": shape, "layout": draw(st.sampled_from(["NCHW", "NHWC"]))}}
    head = {
        "name": "net",
        "inputs": inputs,
        "precision": draw(st.sampled_from(["float32", "float16", {"storage": "float32", "tf32": True}])),
        "batch_sizes": draw(st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True)),
    }
    spec = None
    layers: list[dict[str, Any]] = []
    for name in names[1:]:
        op = draw(st.sampled_from(sorted(OPS)))
        layer: dict[str, Any] = {"name": name, "op": op}
        layer |= {field: draw(values) for field, values in FIELDS[op].items() if draw(st.integers(0, 3))}
        layer |= {field: draw(values) for field, values in FIELDS[op].items() if _required(op, field)}
        known = [names[0], *(layer["name"] for layer in layers)]
        if op in INPUTS:
            least, most = INPUTS[op]
            layer["inputs"] = draw(st.lists(st.sampled_from(known), min_size=least, max_size=most))
        elif OPS[op].max_inputs != 0 and draw(st.booleans()):
            layer["input"] = draw(st.sampled_from(known))
        try:
            trial = NetworkSpec.model_validate({**head, "layers": [*layers, layer]})
            for batch in trial.batch_sizes:
                resolve(trial, batch)
        except Exception:  # noqa: BLE001, S112 (the draw does not fit, the next may)
            continue
        layers.append(layer)
        spec = trial
    return spec or NetworkSpec.model_validate({**head, "layers": [{"name": names[1], "op": "relu"}]})


def _required(op: str, field: str) -> bool:
    return (
        OPS[op].model_fields[field].is_required()
        or field in ("scale", "value", "sizes", "indices")
        or op == "clip"
    )


def _meaning(resolved: Resolved) -> object:
    """What a spec says, however it is spelt."""
    plain = {"input": None, "inputs": None}
    layers = [(r.layer.model_copy(update=plain), r.inputs, r.shape, r.parameters) for r in resolved.layers]
    return (layers, resolved.shapes, resolved.outputs)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(specs())
def test_what_is_written_is_read_back(spec: NetworkSpec) -> None:
    text = dump_spec(spec)
    again = parse_spec(text)
    assert _meaning(resolve(again)) == _meaning(resolve(spec))
    assert again.model_copy(update={"layers": ()}) == spec.model_copy(update={"layers": ()})
    assert dump_spec(again) == text
