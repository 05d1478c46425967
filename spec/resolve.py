"""Resolves a spec: every layer's inputs, shapes and weights by name, or all of its contradictions at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cnngen.spec.errors import Problem, ShapeError, SpecError, nearest
from cnngen.spec.network import NetworkSpec, OutputSpec
from cnngen.spec.ops import LayerBase
from cnngen.spec.ops.base import show
from cnngen.spec.types import Shape

_MIXES = (
    "works along axis 0, the batch, whose items must not meet: take another axis, "
    "or say batched: false where axis 0 is an axis like the others"
)


@dataclass(frozen=True)
class WeightRef:
    """A tensor of the weight file."""

    name: str
    shape: Shape


@dataclass(frozen=True)
class ResolvedLayer:
    """A layer with everything worked out.

    inputs:     names of layers or network inputs; the layers among them come earlier
    shape:      logical (NCHW) shape of the output
    parameters: role ("weight", "bias", ...) -> tensor of the weight file
    """

    layer: LayerBase
    inputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    shape: Shape
    parameters: Mapping[str, WeightRef]


@dataclass(frozen=True)
class Resolved:
    """A spec at one batch size, which is 1 where the spec has no batch, and in one profile.

    shapes:  of every network input and every layer, by name
    outputs: of the network, in order; never empty
    weights: every tensor that the layers read, once, in order of first use; the same in every profile
    """

    spec: NetworkSpec
    batch: int
    profile: int
    layers: tuple[ResolvedLayer, ...]
    shapes: Mapping[str, Shape]
    outputs: tuple[OutputSpec, ...]
    weights: Mapping[str, WeightRef]


def resolve(spec: NetworkSpec, batch: int | None = None, profile: int = 0) -> Resolved:
    """Works out inputs, shapes and weights of every layer, with `batch` in axis 0 of each network input.

    The default is the inputs' own; where the spec has no batch, shapes are the inputs' own. Raises SpecError with
    all problems, of any profile: duplicate names, dangling inputs, references to later layers, cycles, shapes that
    do not meet, layers that mix the batch's items, weights used under two shapes, wrong outputs.
    """
    own_batch = next(iter(spec.inputs.values())).shape[0] if spec.batched else 1
    n = own_batch if batch is None or not spec.batched else batch
    problems = _duplicates(spec) + _batches(spec)
    wired, wiring = _wire(spec)
    own, found = _resolve(spec, n, 0, wired)
    wrong = [*_profile_problems(spec), *problems, *wiring, *found]
    if wrong:
        raise SpecError(wrong)
    resolved = [own]
    for k in range(1, spec.profile_count):
        further, found = _resolve(spec, n, k, wired)
        wrong += found or _other_weights(own, further)
        resolved.append(further)
    if wrong:
        raise SpecError(wrong)
    return resolved[profile]


def profile_text(spec: NetworkSpec, profile: int) -> str:
    """The items of the inputs that tell a profile from others: `images 3x640x640`."""
    changes = {name for shapes in spec.profiles for name in shapes}
    return ", ".join(
        f"{name} {'x'.join(map(str, shape[1:] if spec.batched else shape))}"
        for name, shape in spec.input_shapes(profile).items()
        if name in changes
    )


def _resolve(
    spec: NetworkSpec, n: int, profile: int, wired: Mapping[str, tuple[str, ...] | None]
) -> tuple[Resolved, list[Problem]]:
    """A profile as far as it can be worked out, and what is wrong in it."""
    problems: list[Problem] = []
    shapes = spec.input_shapes(profile, n)
    layers: list[ResolvedLayer] = []
    weights: dict[str, WeightRef] = {}
    users: dict[str, str] = {}
    for layer in spec.layers:
        inputs = wired[layer.name]
        # a layer behind a broken one has no shape to check
        if inputs is None or any(name not in shapes for name in inputs):
            continue
        input_shapes = tuple(shapes[name] for name in inputs)
        rule_inputs = input_shapes or ((n,) if spec.batched else (),)
        try:
            shape = layer.output_shape(rule_inputs)
        except ShapeError as error:
            got = ", ".join(f"{name!r} {show(shapes[name])}" for name in inputs)
            problems.append(Problem(f"{layer.op}: {error}; input: {got}", layer=layer.name))
            continue
        if spec.batched and layer.mixes_items(rule_inputs):
            problems.append(Problem(f"{layer.op}: {_MIXES}", layer=layer.name))
        parameters = {
            role: WeightRef(layer.weight_name(role), size)
            for role, size in layer.parameters(rule_inputs).items()
        }
        for ref in parameters.values():
            known = weights.setdefault(ref.name, ref)
            user = users.setdefault(ref.name, layer.name)
            if known.shape != ref.shape:
                problems.append(
                    Problem(
                        f"needs weight {ref.name!r} as {show(ref.shape)}, "
                        f"layer {user!r} as {show(known.shape)}",
                        layer=layer.name,
                    )
                )
        shapes[layer.name] = shape
        layers.append(ResolvedLayer(layer, inputs, input_shapes, shape, parameters))

    outputs = spec.outputs or (OutputSpec(layer=spec.layers[-1].name),)
    problems += _check_outputs(spec, outputs, shapes, n)
    if profile:
        where = f"profile {profile} ({profile_text(spec, profile)})"
        problems = [replace(problem, message=f"{where}: {problem.message}") for problem in problems]
    return Resolved(spec, n, profile, tuple(layers), shapes, outputs, weights), problems


def _profile_problems(spec: NetworkSpec) -> list[Problem]:
    """What is wrong with the profiles themselves."""
    problems = []
    known: dict[tuple[Shape, ...], int] = {}
    for k in range(spec.profile_count):
        named = spec.profiles[k - 1] if k else {}
        for name, shape in named.items():
            if name not in spec.inputs:
                text = f"{name!r} is no network input{nearest(name, spec.inputs)}; they are {', '.join(spec.inputs)}"
                problems.append(Problem(f"profile {k}: {text}", field="profiles"))
            elif len(shape) != len(spec.inputs[name].shape):
                text = f"{name!r} is {show(shape)}, but {show(spec.inputs[name].shape)} in profile 0: keep its rank"
                problems.append(Problem(f"profile {k}: {text}", field="profiles"))
        first = known.setdefault(tuple(spec.input_shapes(k, 1).values()), k)
        if first != k and named.keys() <= spec.inputs.keys():
            what = " (the inputs' own shapes)" if first == 0 else ""
            text = f"profile {k} is profile {first}{what} again; the batch does not tell profiles apart"
            problems.append(Problem(text if spec.batched else text.partition(";")[0], field="profiles"))
    return problems


def _other_weights(own: Resolved, further: Resolved) -> list[Problem]:
    """Weights that a profile needs under another shape than profile 0."""
    return [
        Problem(
            f"profile {further.profile} ({profile_text(own.spec, further.profile)}): needs weight {ref.name!r} as "
            f"{show(ref.shape)}, profile 0 as {show(own.weights[ref.name].shape)}; profiles share their weights",
            layer=layer.layer.name,
        )
        for layer in further.layers
        for ref in layer.parameters.values()
        if ref != own.weights[ref.name]
    ]


def _duplicates(spec: NetworkSpec) -> list[Problem]:
    problems = []
    seen: dict[str, str] = dict.fromkeys(spec.inputs, "a network input")
    for position, layer in enumerate(spec.layers, start=1):
        if layer.name in seen:
            problems.append(
                Problem(
                    f"layer {position} has the name of {seen[layer.name]}; names must be unique",
                    layer=layer.name,
                    field="name",
                )
            )
        else:
            seen[layer.name] = f"layer {position}"
    return problems


def _batches(spec: NetworkSpec) -> list[Problem]:
    sizes = {name: tensor.shape[0] for name, tensor in spec.inputs.items()}
    if not spec.batched or len(set(sizes.values())) == 1:
        return []
    got = ", ".join(f"{name!r} {size}" for name, size in sizes.items())
    message = (
        f"axis 0 of every input is the batch and must be the same, got {got}; "
        "say batched: false where it is an axis like the others"
    )
    return [Problem(message, field="inputs")]


def _wire(spec: NetworkSpec) -> tuple[dict[str, tuple[str, ...] | None], list[Problem]]:
    """Each layer's inputs by name (None where they are wrong), and what is wrong."""
    position = {layer.name: k for k, layer in reversed(list(enumerate(spec.layers)))}
    known = [*spec.inputs, *position]
    wired: dict[str, tuple[str, ...] | None] = {}
    problems: list[Problem] = []
    later: list[tuple[str, str]] = []
    before: str | None = next(iter(spec.inputs)) if len(spec.inputs) == 1 else None
    for k, layer in enumerate(spec.layers):
        least, most = layer.arity
        sources = layer.sources
        if sources is None and most != 0:
            sources = () if before is None else (before,)
            if before is None:
                problems.append(
                    Problem(
                        f"the first layer has to say which input it reads: {', '.join(spec.inputs)}",
                        layer=layer.name,
                    )
                )
        before = layer.name
        inputs = sources or ()
        wrong = len(inputs) < least or (most is not None and len(inputs) > most)
        if wrong and (layer.sources is not None or inputs):
            problems.append(Problem(_arity_text(layer, inputs), layer=layer.name, field=_field(layer)))
        for name in inputs:
            if name not in position and name not in spec.inputs:
                wrong = True
                problems.append(
                    Problem(
                        f"reads {name!r}, which is neither a layer nor a network input{nearest(name, known)}",
                        layer=layer.name,
                        field=_field(layer),
                    )
                )
            elif name not in spec.inputs and position[name] >= k:
                wrong = True
                later.append((layer.name, name))
        wired.setdefault(layer.name, None if wrong else inputs)
    return wired, problems + _order_problems(spec, later)


def _field(layer: LayerBase) -> str | None:
    return "input" if layer.input is not None else "inputs" if layer.inputs is not None else None


def _arity_text(layer: LayerBase, inputs: tuple[str, ...]) -> str:
    least, most = layer.arity
    if most == 0:
        wants = "no input"
    elif most is None:
        wants = f"at least {least} inputs"
    else:
        wants = f"{least} input{'s' if least > 1 else ''}"
    got = ", ".join(map(repr, inputs)) or "none"
    more = ""
    if least == 2 and len(inputs) == 1:
        other = ", value or parameter" if "parameter" in type(layer).model_fields else ""
        more = f"; give inputs: [a, b]{other}"
    return f"{layer.op} takes {wants}, got {len(inputs)} ({got}){more}"


def _order_problems(spec: NetworkSpec, later: list[tuple[str, str]]) -> list[Problem]:
    """References to a later layer: a cycle where that depends on the reader, else a matter of order."""
    reads: dict[str, list[str]] = {layer.name: [] for layer in spec.layers}
    before: str | None = None
    for layer in spec.layers:
        default = () if before is None or layer.arity[1] == 0 else (before,)
        reads[layer.name] += [name for name in layer.sources or default if name not in spec.inputs]
        before = layer.name
    problems: list[Problem] = []
    cycles: set[frozenset[str]] = set()
    for reader, name in later:
        path = _path(reads, name, reader)
        if path is None:
            text = (
                f"reads {name!r}, which comes later; layers are listed in execution order: move {name!r} up"
            )
            problems.append(Problem(text, layer=reader, field=_field_of(spec, reader)))
        elif frozenset(path) not in cycles:
            cycles.add(frozenset(path))
            circle = " -> ".join([reader, *path])
            problems.append(
                Problem(
                    f"a cycle, each reads the next: {circle}", layer=reader, field=_field_of(spec, reader)
                )
            )
    return problems


def _field_of(spec: NetworkSpec, name: str) -> str | None:
    return next(_field(layer) for layer in spec.layers if layer.name == name)


def _path(reads: Mapping[str, list[str]], start: str, goal: str) -> list[str] | None:
    """The layers from `start` to `goal` along what each reads, shortest first; None: there is no way."""
    paths, seen = [[start]], {start}
    for path in paths:
        if path[-1] == goal:
            return path
        for name in reads.get(path[-1], ()):
            if name not in seen:
                seen.add(name)
                paths.append([*path, name])
    return None


def _check_outputs(
    spec: NetworkSpec, outputs: tuple[OutputSpec, ...], shapes: Mapping[str, Shape], batch: int
) -> list[Problem]:
    problems = []
    names = [layer.name for layer in spec.layers]
    seen: set[str] = set()
    for output in outputs:
        text = None
        if output.layer not in names:
            what = "is a network input, not a layer" if output.layer in spec.inputs else "is no layer"
            text = f"output {output.layer!r} {what}{nearest(output.layer, names)}"
        elif output.layer in seen:
            text = f"output {output.layer!r} is listed twice"
        elif output.layer in shapes:
            shape = shapes[output.layer]
            if spec.batched and shape[0] != batch:
                text = (
                    f"output {output.layer!r} has shape {show(shape)}: axis 0 must be the batch, {batch}, "
                    "or say batched: false"
                )
            elif output.layout == "NHWC" and len(shape) != 4:
                text = f"output {output.layer!r} has shape {show(shape)}: layout NHWC needs [N, C, H, W]"
        seen.add(output.layer)
        if text:
            problems.append(Problem(text, field="outputs"))
    return problems
