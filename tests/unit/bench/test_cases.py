"""bench/cases.py: spec, reference and float16 file of a case are one network, and inputs are the same everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

import networks  # noqa: E402
from cases import Case, errors, in_float16, input_sets, prepare  # noqa: E402
from peers import in_memory_order  # noqa: E402

from cnngen.codegen.generate import plan_spec  # noqa: E402
from cnngen.codegen.interpret_plan import interpret_plan  # noqa: E402
from cnngen.spec import NetworkSpec, load_spec  # noqa: E402


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.head = torch.nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


def outputs_of_plan(case: Case) -> list[np.ndarray]:
    """What cnngen's plan computes of the first set, in exact arithmetic but for what it stores."""
    plan = plan_spec(case.spec)
    given = [x.double().numpy() for x in input_sets(case)[0]]
    values = plan.batches[0].graph.inputs
    feeds = {value.name: array for value, array in zip(values, given, strict=True)}
    return list(interpret_plan(plan, 0, feeds).values())


def outputs_of_file(case: Case) -> list[np.ndarray]:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(case.float16), providers=["CPUExecutionProvider"])
    given = [x.contiguous().numpy() for x in input_sets(case)[0]]
    names = [port.name for port in session.get_inputs()]
    return session.run(None, dict(zip(names, given, strict=True)))


def test_a_network_is_the_same_for_all_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(networks.NETWORKS, "small", (Small, (3, 16, 16)))
    case = Case("small", 4, tmp_path / "small-4")
    prepare(case, float16=True)
    assert load_spec(case.spec).batch_sizes == (4,)
    assert errors(outputs_of_plan(case), case.reference) < 3e-3
    assert errors(outputs_of_file(case), case.reference) < 3e-3
    assert np.load(case.reference)["0"].shape == (4, 5)


def test_what_is_there_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(networks.NETWORKS, "small", (Small, (3, 16, 16)))
    case = Case("small", 1, tmp_path / "small-1")
    prepare(case, float16=False)
    assert not case.float16.exists()
    changed = case.spec.read_text() + "# by hand\n"
    case.spec.write_text(changed)
    before = np.load(case.reference)["0"]
    case.reference.unlink()
    prepare(case, float16=True)
    assert case.spec.read_text() == changed
    np.testing.assert_allclose(np.load(case.reference)["0"], before, rtol=1e-4, atol=1e-5)
    assert errors(outputs_of_file(case), case.reference) < 3e-3


def test_a_model_brings_its_inputs_and_outputs(tmp_path: Path) -> None:
    """Of a model that was never a torch module, the float16 file is converted."""
    pytest.importorskip("onnxruntime")
    import onnx
    from onnx import helper

    kernel = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    x = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1], name="conv")],
        "g",
        [helper.make_tensor_value_info("x", 1, x.shape)],
        [helper.make_tensor_value_info("y", 1, (2, 4, 8, 8))],
        [onnx.numpy_helper.from_array(kernel, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "one.onnx")
    y = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(kernel), padding=1).numpy()
    np.savez(tmp_path / "one.npz", in_x=x, out_y=y)
    case = Case("one", 2, tmp_path / "work", tmp_path / "one.onnx")
    prepare(case, float16=True)
    assert errors(outputs_of_plan(case), case.reference) < 3e-3
    assert errors(outputs_of_file(case), case.reference) < 3e-3


def test_inputs_are_the_same_in_every_process_and_no_two_sets_are_equal() -> None:
    case = Case("resnet18", 2, Path("nowhere"))
    first, again = input_sets(case), input_sets(case)
    assert all(
        torch.equal(x, y) for xs, ys in zip(first, again, strict=True) for x, y in zip(xs, ys, strict=True)
    )
    assert not torch.equal(first[0][0], first[1][0])
    assert first[0][0].dtype == torch.half
    assert first[0][0].is_contiguous(memory_format=torch.channels_last)


def test_float16_ports_keep_whole_numbers() -> None:
    spec = NetworkSpec.model_validate(
        {
            "name": "net",
            "inputs": {"x": {"shape": [1, 3, 8, 8]}, "k": {"shape": [1, 4], "dtype": "int64"}},
            "layers": [
                {"name": "y", "op": "relu", "inputs": ["x"]},
                {"name": "z", "op": "relu", "inputs": ["k"]},
            ],
            "outputs": ["y", {"layer": "z", "dtype": "int64"}],
        }
    )
    half = in_float16(spec)
    assert half.precision.storage == "float16"
    assert [(port.dtype, port.layout) for port in half.inputs.values()] == [
        ("float16", "NHWC"),
        ("int64", "NCHW"),
    ]
    assert [port.dtype for port in half.outputs] == ["float16", "int64"]


def test_arrays_are_given_as_their_ports_declare() -> None:
    spec = {"shape": (1, 3, 8, 6), "layout": "NHWC"}
    port = type("Port", (), spec)
    image = torch.arange(2 * 3 * 8 * 6).reshape(2, 3, 8, 6).to(memory_format=torch.channels_last)
    given = in_memory_order(image, port)
    assert given.shape == (2, 8, 6, 3)
    assert given.data_ptr() == image.data_ptr()  # nothing is copied
    as_declared = image.permute(0, 2, 3, 1).contiguous()  # an ONNX input that is NHWC already
    assert in_memory_order(as_declared, port).shape == (2, 8, 6, 3)
    assert in_memory_order(image, type("Port", (), spec | {"layout": "NCHW"})).shape == (2, 3, 8, 6)
