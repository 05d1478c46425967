"""What an import reads like: names, weights, batches, types; and what is refused, by its module's path."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cnngen.spec import ImportModelError, load_spec

from .agreement import Imported, assert_agrees, images, imported, nn, torch

F = torch.nn.functional


class Twice(nn.Module):
    """Modules that run twice, a weight of two modules, parameters and buffers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.other = (
            nn.Conv2d(4, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 4, 3),
        )
        self.other.weight = self.conv.weight
        self.scale = nn.Parameter(torch.rand(4, 1, 1))
        self.register_buffer("offset", torch.rand(1, 4, 1, 1))
        self.register_buffer("mask", torch.rand(8, 8), persistent=False)

    def forward(self, x: object) -> object:
        for _ in range(2):
            x = F.relu(self.norm(self.conv(x)), inplace=True)
        return self.other((x * self.scale + self.offset) * self.mask)


def refused(module: Callable[..., object], *inputs: object, **options: object) -> list[str]:
    from cnngen.spec.torch import import_torch

    with pytest.raises(ImportModelError) as caught:
        import_torch(module, inputs, **options)
    return [str(problem) for problem in caught.value.problems]


def test_layers_and_weights_are_named_after_modules() -> None:
    module = Twice()
    found = assert_agrees(module, images(2, 4, 8, 8))
    assert found.layers == [
        "{name: conv, op: conv2d, out_channels: 4, kernel: 3, padding: 1}",
        "{name: norm, op: batch_norm}",
        "{name: relu, op: relu}",
        "{name: conv_2, op: conv2d, out_channels: 4, kernel: 3, padding: 1, weight: conv.weight, bias: conv.bias}",
        "{name: norm_2, op: batch_norm}",
        "{name: relu_2, op: relu}",
        "{name: mul, op: mul, parameter: scale}",
        "{name: add, op: add, parameter: offset}",
        "{name: mul_2, op: mul, parameter: mask, parameter_shape: [8, 8]}",
        "{name: other, op: conv2d, out_channels: 4, kernel: 3, weight: conv.weight}",
    ]
    again = {
        name for name in found.weights if name.startswith("norm_2.")
    }  # a BatchNorm cannot name its tensors
    assert set(found.weights) - again == {
        name
        for name in (*module.state_dict(), "mask")
        if not name.endswith(("num_batches_tracked", "other.weight"))
    }


def test_activations_fold_and_sequences_keep_their_numbers() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(144, 5), nn.Sigmoid()
    )
    assert assert_agrees(module, images(2, 3, 8, 8)).layers == [
        '{name: "0", op: conv2d, out_channels: 4, kernel: 3, activation: {op: leaky_relu, slope: 0.1}}',
        "{name: flatten, op: flatten}",
        '{name: "3", op: linear, out_features: 5, activation: sigmoid}',
    ]


def test_a_module_with_parts_does_not_name_its_own_call() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: object) -> object:
            return x + self.conv(x)

    found = assert_agrees(nn.Sequential(Residual(), Residual()), images(2, 3, 4, 4))
    assert [layer.name for layer in found.spec.layers] == ["0.conv", "0.add", "1.conv", "1.add"]


class Permuted(nn.Module):
    """The axes in another order."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: object) -> object:
        return x.permute(self.axes)


def test_layouts() -> None:
    found = assert_agrees(
        nn.Sequential(Permuted(0, 3, 1, 2), nn.Conv2d(3, 3, 1), nn.ReLU(), Permuted(0, 2, 3, 1)),
        images(2, 6, 5, 3),
    )
    assert found.spec.inputs["input"].layout == found.spec.outputs[0].layout == "NHWC"
    assert found.ops == ["conv2d"]


def test_the_batch_is_recognised() -> None:
    assert assert_agrees(lambda x: x.flatten(1).softmax(1), images(3, 4, 5)).spec.batched
    assert not assert_agrees(lambda x: x.softmax(0), images(3, 4)).spec.batched
    assert not assert_agrees(lambda x: x.mean(), images(3, 4)).spec.batched
    assert not assert_agrees(lambda x, y: x @ y, images(3, 4), images(4, 5)).spec.batched
    assert imported(lambda x: x + 1, images(3, 4), batched=False).spec.batched is False
    assert imported(lambda x: x + 1, images(3, 4), batch_sizes=[1, 8]).spec.batch_sizes == (1, 8)


def test_inputs_and_outputs() -> None:
    class Pair(nn.Module):
        def forward(
            self, image: object, extra: dict[str, object], unused: object = None
        ) -> dict[str, object]:
            return {"sum": image + extra["a"], "same": image, "none": unused, "again": [image + extra["a"]]}

    found = imported(Pair(), images(2, 3), {"a": images(2, 3, seed=1)})
    assert list(found.spec.inputs) == ["image", "extra_a"]
    assert [output.layer for output in found.spec.outputs] == ["add", "identity", "add_2"]


def test_arguments_by_name() -> None:
    from cnngen.spec.torch import import_torch

    spec, _ = import_torch(lambda image, mask: image * mask, {"mask": images(2, 1), "image": images(2, 3)})
    assert list(spec.inputs) == ["mask", "image"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: object) -> None:
    found = imported(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(dtype), images(1, 3, 8, 8).to(dtype)
    )
    assert found.spec.precision.storage == str(dtype).removeprefix("torch.")
    assert found.spec.inputs["input"].dtype == found.spec.outputs[0].dtype == found.spec.precision.storage
    assert {array.dtype.name for array in found.weights.values()} == {found.spec.precision.storage}


def test_integers_and_booleans() -> None:
    found = assert_agrees(lambda x, k: (x.argmax(1), x > k, k + 1), images(2, 5), torch.tensor([[1], [2]]))
    assert [output.dtype for output in found.spec.outputs] == ["int64", "bool", "int64"]
    assert found.spec.inputs["k"].dtype == "int64"


def test_a_module_stays_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout(), nn.BatchNorm2d(3))
    module[2].eval()
    imported(module, images(1, 3, 4, 4))
    assert [part.training for part in module.modules()] == [True, True, True, False]


def test_constants_are_evaluated() -> None:
    def steps(x: object) -> object:
        ys = torch.arange(x.shape[2]).float().view(-1, 1) / (x.shape[2] - 1)
        return x * (ys * torch.ones(1, x.shape[3])) + torch.zeros_like(x)

    assert assert_agrees(steps, images(2, 3, 4, 5)).ops == ["mul", "add"]


def test_weight_norm_is_folded() -> None:
    module = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)))
    assert assert_agrees(module, images(2, 3, 6, 6)).ops == ["conv2d"]


class Refused(nn.Module):
    """Three calls that cannot be said, in two modules."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LSTM(6, 4))
        self.sorter = nn.Module()

    def forward(self, x: object) -> object:
        y, _ = self.head[1](self.head[0](x)[:, 0])
        return y, torch.sort(x, 1)[0], torch.nn.functional.conv3d(x[None], torch.ones(1, 2, 1, 1, 1))


def test_refusals_come_at_once() -> None:
    problems = refused(Refused(), images(2, 3, 8, 8))
    text = "\n".join(problems)
    assert "sort: the operator is not supported" in text
    assert "conv3d: 3-D operators are not supported" in text
    assert "head.1 (lstm): recurrent operators are not supported" in text


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x[x > 0], "index: the shape of its result depends on data"),
        (lambda x: x * 2 if x.sum() > 0 else x, "torch.export cannot trace the module"),
        (lambda x: x + torch.rand(4), "rand: its result is random"),
        (
            lambda x: F.conv2d(x[None], x[None]),
            "conv2d: the weight is computed from the inputs; it has to be constant",
        ),
        (lambda x: x.double(), "_to_copy: it casts to float64; allowed: float32"),
        (
            lambda x: F.batch_norm(x, None, None, training=True),
            "batch_norm: it takes the statistics of its own input",
        ),
        (lambda x: torch.fft.fft(x).real, "_fft_r2c: the operator is not supported"),
        (lambda x: x.new_empty(0) + x[:0].sum(), "its result [0, 3, 4] has no elements"),
        (lambda x: None, "the module returns no tensors"),  # noqa: ARG005
        (lambda x: torch.ones(0), "output 0 is no tensor that depends on the inputs"),  # noqa: ARG005
    ],
)
def test_refusal(function: Callable[..., object], reason: str) -> None:
    assert any(problem.split("\n")[0].find(reason) >= 0 for problem in refused(function, images(2, 3, 4)))


def test_inputs_of_other_types_are_refused() -> None:
    assert refused(lambda x: x + 1, torch.zeros(2, dtype=torch.float64)) == [
        "input 'x': its type is float64; allowed: float32, float16, bfloat16, int32, int64, uint8, bool"
    ]


def test_a_buffer_that_changes_is_refused() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: object) -> object:
            self.count += 1
            return x * self.count

    assert refused(Counter(), images(2, 3)) == [
        "the module changes its buffer 'count': a network has no state"
    ]


MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, image):
        return torch.relu(self.norm(self.conv(image)))

ready = Net()

def make():
    return nn.Sequential(Net(), nn.Flatten())

def sized(size):
    return Net()
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of Python, where the command runs."""
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return tmp_path


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    from cnngen.codegen import cli

    monkeypatch.setattr(sys, "argv", ["cnngen", *arguments])
    cli.main()


@pytest.mark.parametrize("factory", ["mine:Net", "mine:ready", "mine:make"])
def test_command(desk: Path, monkeypatch: pytest.MonkeyPatch, factory: str) -> None:
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, "import", "torch", factory, "--input", "1x3x8x8", "-o", "out")
    assert ended.value.code == 0
    spec = load_spec(desk / "out" / "spec.yaml")
    assert spec.name == factory.partition(":")[2].lower()
    assert spec.inputs["image" if factory != "mine:make" else "input"].shape == (1, 3, 8, 8)


def test_checkpoints(desk: Path) -> None:
    from cnngen.spec.torch.command import import_from, make_module

    state = make_module("mine:Net").state_dict()
    forms = {
        "plain.pt": state,
        "nested.pt": {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        "model.pth": {"model": state},
    }
    for name, saved in forms.items():
        torch.save(saved, desk / name)
        _, weights = import_from("mine:Net", ["image=2x3x8x8"], desk / name)
        assert np.array_equal(weights["conv.weight"], state["conv.weight"].numpy())


def test_a_checkpoint_of_another_module_is_refused(desk: Path) -> None:
    from cnngen.spec.torch.command import load_checkpoint, make_module

    module = make_module("mine:Net")
    state = {**module.state_dict(), "extra": torch.zeros(1), "conv.bias": torch.zeros(7)}
    del state["norm.weight"]
    torch.save(state, desk / "other.pt")
    with pytest.raises(ImportModelError) as caught:
        load_checkpoint(module, Path("other.pt"))
    assert str(caught.value).splitlines() == [
        "other.pt: it lacks: norm.weight",
        "other.pt: the module has no: extra",
        "other.pt: 'conv.bias' is [7], the module has [4]",
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"no checkpoint", "it is damaged"), (None, "cannot read the checkpoint")],
)
def test_a_damaged_checkpoint_is_refused(desk: Path, content: bytes | None, reason: str) -> None:
    from cnngen.spec.torch.command import load_checkpoint, make_module

    if content is not None:
        (desk / "damaged.pt").write_bytes(content)
    with pytest.raises(ImportModelError, match=reason):
        load_checkpoint(make_module("mine:Net"), Path("damaged.pt"))


def test_a_checkpoint_cannot_run_code(desk: Path) -> None:
    from cnngen.spec.torch.command import load_checkpoint, make_module

    module = make_module("mine:Net")
    torch.save(module, desk / "whole.pt")
    with pytest.raises(ImportModelError, match=r"more than tensors.*save model.state_dict\(\)"):
        load_checkpoint(module, Path("whole.pt"))


@pytest.mark.parametrize(
    ("factory", "inputs", "reason"),
    [
        ("mine", ["1x3x8x8"], "'mine' is not package.module:factory"),
        ("nowhere.at.all:Net", ["1x3x8x8"], "cannot import 'nowhere.at.all': ModuleNotFoundError"),
        ("mine:Nett", ["1x3x8x8"], "'mine' has no 'Nett' (did you mean 'Net'?)"),
        ("mine:sized", ["1x3x8x8"], "mine:sized cannot be called without arguments: TypeError"),
        ("mine:MODULE", ["1x3x8x8"], "'mine' has no 'MODULE'"),
        ("mine:torch", ["1x3x8x8"], "mine:torch makes module, not a torch.nn.Module"),
        ("mine:Net", ["1x3xHxW"], "--input: '1x3xHxW' is not a shape such as 1x3x224x224"),
        ("mine:Net", ["1x3x8x8:float"], "--input: 'float' is no element type; allowed: float32"),
        ("mine:Net", ["image=1x3x8x8", "1x3"], "--input: give all inputs a name"),
        ("mine:Net", ["1x4x8x8"], "torch.export cannot trace the module: RuntimeError: Given groups=1"),
        ("mine:Net", ["img=1x3x8x8"], "torch.export cannot trace the module"),
    ],
)
@pytest.mark.usefixtures("desk")
def test_wrong_uses_are_told(factory: str, inputs: list[str], reason: str) -> None:
    from cnngen.spec.torch.command import import_from

    with pytest.raises(ImportModelError) as caught:
        import_from(factory, inputs)
    assert reason in str(caught.value)


def test_layers_of(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed, and no warning escapes."""
    found = imported(nn.Upsample(scale_factor=2), images(1, 2, 3, 3))
    assert isinstance(found, Imported)
    assert capsys.readouterr() == ("", "")


def test_imported_operators_are_listed() -> None:
    from cnngen.spec.torch.rules import REFUSED, RULES

    page = (Path(__file__).parents[2] / "docs" / "torch.md").read_text()
    listed = page.partition("The operators of ATen that are imported whole:\n")[2].partition(".\n")[0].split()
    assert [name.strip(",") for name in listed] == sorted(
        name for name in RULES if name not in REFUSED and not name.startswith("_")
    )
