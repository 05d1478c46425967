"""On random networks: lowering means what the ops mean, and what follows does not change the function."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from cnngen.codegen import passes
from cnngen.codegen.choices import Choices
from cnngen.codegen.emit.titles import layer_names
from cnngen.codegen.graph import Array, Graph, Value, is_view
from cnngen.codegen.graph_text import dump
from cnngen.codegen.interpret import interpret, outputs, run_node
from cnngen.codegen.interpret_plan import interpret_plan
from cnngen.codegen.lower import lower
from cnngen.codegen.ops import OPS
from cnngen.codegen.plan import make_plan
from cnngen.codegen.storage import NUMPY_TYPES
from cnngen.codegen.verify import verify
from cnngen.spec import resolve
from cnngen.spec.types import DType, ElementType

from .networks import Network, networks
from .tuned import REWRITES

# The same examples at every run: a new defect is a change of the code, not luck.
SETTINGS = settings(
    derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
ROUNDING: dict[ElementType, float] = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


def assert_close(got: Array, want: Array, tolerance: float) -> None:
    assert got.shape == want.shape
    assert np.isfinite(got).all()
    np.testing.assert_allclose(
        got, want, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(want).max()))
    )


# --- lowering ---------------------------------------------------------------------------------------------


def check_lowering(network: Network, batch: int) -> None:
    """Each layer's value is the op's own definition, applied to the values of its inputs."""
    graph = lower(network.spec, network.weights, batch)
    verify(graph)
    inputs = network.inputs(graph)
    values = interpret(graph, inputs)
    for name, value in zip(network.spec.inputs, graph.inputs, strict=True):
        if name in values:  # else nothing that reaches an output reads it
            assert np.array_equal(values[name], inputs[value.name])
    resolved = resolve(network.spec, batch)
    for layer in resolved.layers:
        if layer.layer.name not in values:
            continue
        weights = {
            role: np.asarray(network.weights[ref.name], np.float64) for role, ref in layer.parameters.items()
        }
        sources = [values[name] for name in layer.inputs]
        expected = OPS[layer.layer.op].reference(layer.layer, sources, weights, layer.shape)
        assert_close(values[layer.layer.name], expected, 1e-6)
    for output, name in zip(resolved.outputs, graph.outputs, strict=True):
        assert np.array_equal(values[name], values[output.layer])


@given(networks())
@settings(SETTINGS, max_examples=150)
def test_lowering_means_what_the_ops_mean(network: Network) -> None:
    for batch in network.spec.batch_sizes:
        check_lowering(network, batch)


# --- passes -----------------------------------------------------------------------------------------------


def check_passes(network: Network, batch: int, choices: Choices) -> None:
    """No pass changes the function computed, or anything at all when it runs a second time."""
    graph = lower(network.spec, network.weights, batch)
    inputs = network.inputs(graph)
    expected = outputs(graph, inputs)
    known_layers = {layer.name for layer in network.spec.layers} | set(network.spec.inputs)
    for name, rewrite in passes.pipeline(choices):
        graph = rewrite(graph)
        verify(graph)
        for output, got in outputs(graph, inputs).items():
            assert_close(got, expected[output], 1e-5)
        assert all(node.layers and known_layers.issuperset(node.layers) for node in graph.nodes), name
        assert dump(rewrite(graph)) == dump(graph), f"{name} does not know its own result"


@given(networks())
@settings(SETTINGS, max_examples=150)
def test_no_pass_changes_the_function_computed(network: Network) -> None:
    check_passes(network, network.spec.batch_sizes[-1], Choices())


@pytest.mark.parametrize("storage", ["float32", "float16"])
@pytest.mark.parametrize("option", [0, 1, 2])
def test_no_form_changes_the_function_computed(option: int, storage: DType) -> None:
    """Whatever is chosen, and pays or not."""

    @given(networks(storage))
    @settings(SETTINGS, max_examples=40)
    def holds(network: Network) -> None:
        check_passes(network, network.spec.batch_sizes[-1], Choices(every=dict.fromkeys(REWRITES, option)))

    holds()


def check_names(network: Network, batch: int) -> None:
    """A step that says to be a layer's has the layer's value: profiles, traces and errors go by that."""
    lowered = lower(network.spec, network.weights, batch)
    inputs = network.inputs(lowered)
    layers = interpret(lowered, inputs)
    graph = passes.run(lowered)
    values = interpret(graph, inputs)
    named = {layer.name for layer in network.spec.layers} | set(network.spec.inputs)
    for node in graph.nodes:
        name = layer_names(graph, node)[-1]
        if name in named and not is_view(node):
            real = node.value.shape[1] - node.value.padding
            # A view of the value may be what bears the layer's name, and its shape.
            assert_close(values[node.name][:, :real].reshape(layers[name].shape), layers[name], 1e-5)


@given(networks())
@settings(SETTINGS, max_examples=100)
def test_steps_are_called_by_the_layer_whose_value_they_write(network: Network) -> None:
    check_names(network, network.spec.batch_sizes[0])


# --- the plan ---------------------------------------------------------------------------------------------


def stored(array: Array, value: Value) -> Array:
    return array.astype(NUMPY_TYPES[value.dtype]).astype(np.float64)


def interpret_stored(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every value of the graph, rounded to the type that it is stored in."""
    values = {value.name: stored(inputs[value.name], value) for value in graph.inputs}
    values |= {name: stored(constant.array, constant.value) for name, constant in graph.constants.items()}
    for node in graph.nodes:
        values[node.name] = stored(run_node(node, [values[name] for name in node.inputs]), node.value)
    return values


def interpret_noisy(graph: Graph, inputs: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """Every value with a random error of up to one rounding step of the type that it is stored in."""
    rng = np.random.default_rng(seed)

    def noisy(array: Array, value: Value) -> Array:
        step = 2 * ROUNDING.get(value.dtype, 0.0)  # whole numbers and bools are exact
        smallest = 2.0**-24 if value.dtype == "float16" else 0.0
        return array + rng.uniform(-1, 1, array.shape) * (step * np.abs(array) + smallest)

    values = {value.name: np.asarray(inputs[value.name]) for value in graph.inputs}
    values |= {
        name: noisy(constant.array.astype(np.float64), constant.value)
        for name, constant in graph.constants.items()
    }
    for node in graph.nodes:
        values[node.name] = noisy(run_node(node, [values[name] for name in node.inputs]), node.value)
    return values


def distance(got: Array, want: Array) -> float:
    """Of two arrays, relative to the second's length."""
    return float(np.linalg.norm(got - want) / max(np.linalg.norm(want), 1e-3))


def check_plan(network: Network, tolerance: float | None) -> None:
    """The plan computes what its graph does, to the bit; and what the layers do, within `tolerance` of the
    largest output, or (None) not worse than storing every value with an error of one rounding step."""
    plan = make_plan(network.spec, network.weights)
    for index, batch in enumerate(network.spec.batch_sizes):
        lowered = lower(network.spec, network.weights, batch)
        inputs = network.inputs(lowered)
        exact = interpret(lowered, inputs)
        assume(all(np.abs(value).max() < 1e4 for value in exact.values()))  # nothing overflows in float16
        rounded = interpret_stored(plan.batches[index].graph, inputs)
        noisy = [interpret_noisy(lowered, inputs, seed) for seed in range(3 if tolerance is None else 0)]
        for name, got in interpret_plan(plan, index, inputs).items():
            assert np.isfinite(got).all()
            assert np.array_equal(got, rounded[name])
            if tolerance is None:
                # Three draws of the error, against the one that rounding makes; of one element all may be small.
                allowed = 6 * max(distance(values[name], exact[name]) for values in noisy)
                assert distance(got, exact[name]) <= allowed + 1e-6
            else:
                assert_close(got, exact[name], tolerance)


@given(networks("float32", mixed=False))
@settings(SETTINGS, max_examples=100)
def test_the_plan_computes_the_network_in_float32(network: Network) -> None:
    check_plan(network, 1e-4)


@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
def test_the_plan_computes_the_network_in_16_bits(storage: DType) -> None:
    @given(networks(storage))
    @settings(SETTINGS, max_examples=50)
    def holds(network: Network) -> None:
        check_plan(network, None)

    holds()
