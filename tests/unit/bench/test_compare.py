"""bench/compare.py: who runs when, what is told of whom, and how it is shown."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, ClassVar, TextIO

import compare
import pytest
from compare_report import chart, table
from worker import Failure

torch = pytest.importorskip("torch")

from cases import Case, parse  # noqa: E402

ENVIRONMENT = {"gpu": "Some GPU", "torch": "2.11.0"}
RATES = {"bytes": 3e12, "flop": 7e14}
READY = {"build_s": 20.0, "kept": False, "start_ms": 300.0, "memory_mb": 300.0}


class FakeWorker:
    """Answers as a worker does; `said` is what all of them were asked. Peers named in `broken` fail then."""

    said: ClassVar[list[tuple[str, str]]] = []
    broken: ClassVar[dict[str, str]] = {}
    environment: ClassVar[dict[str, str]] = ENVIRONMENT

    def __init__(self, role: str) -> None:
        self.role = role

    @classmethod
    def of(cls, role: str, *_: object) -> FakeWorker:
        return cls(role)

    def answer(self, _timeout_s: float) -> dict[str, Any]:
        self._fail_at("start")
        known = {"rates": {"environment": self.environment, **RATES}, "prepare": {}}
        return dict(known.get(self.role, READY))

    def ask(self, _timeout_s: float, **question: int) -> dict[str, Any]:
        (what,) = question
        self._fail_at(what)
        speed = {"cnngen": 1.0, "eager": 2.0}.get(self.role, 4.0)
        return {"ms": [speed] * question["passes"]} if what == "passes" else {"error": 1e-3}

    def close(self) -> None:
        self.said.append((self.role, "close"))

    def _fail_at(self, what: str) -> None:
        self.said.append((self.role, what))
        if self.broken.get(self.role) == what:
            raise Failure(f"{self.role} cannot {what}")


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> type[FakeWorker]:
    """Every peer is there but TensorRT."""
    fresh = type("Fakes", (FakeWorker,), {"said": [], "broken": {}})
    monkeypatch.setattr(compare, "Worker", fresh)
    monkeypatch.setattr(compare, "project_of", lambda case: case.folder)
    monkeypatch.setattr(compare, "build", lambda _case: False)
    monkeypatch.setattr(compare, "start_up", lambda _project: {"first": {"ready": 900.0, "context": 100.0}})
    floor = {
        "layers_ms": 0.5,
        "network_ms": 0.25,
        "steps": 9,
        "gflop": 8.0,
        "layers_mb": 90.0,
        "network_mb": 30.0,
    }
    monkeypatch.setattr(compare, "floor", lambda _case, _rates: floor)
    for name, peer in compare.PEERS.items():
        why = "tensorrt is not installed" if name == "trt" else ""
        monkeypatch.setattr(peer, "missing", classmethod(lambda _cls, _case, why=why: why))
    return fresh


def run(tmp_path: Path, *words: str) -> dict[str, Any]:
    """The JSON that a run leaves."""
    pytest.importorskip("matplotlib")
    arguments = compare.parse_arguments([*words, "--out", str(tmp_path), "--work", str(tmp_path / "work")])
    stored = tmp_path / "compare.json"
    results = json.loads(stored.read_text()) if stored.exists() else {"environment": {}, "cases": {}}
    compare.measure(arguments, tmp_path / "work", results)
    return json.loads(stored.read_text())


def test_peers_take_turns(fakes: type[FakeWorker], tmp_path: Path) -> None:
    found = run(tmp_path, "resnet50:64", "--peers", "eager,trt", "--rounds", "2", "--passes", "3")
    assert fakes.said == [
        ("rates", "start"), ("rates", "close"), ("prepare", "start"), ("prepare", "close"),
        ("cnngen", "start"), ("eager", "start"),
        ("cnngen", "passes"), ("eager", "passes"), ("cnngen", "passes"), ("eager", "passes"),
        ("cnngen", "check"), ("eager", "check"), ("cnngen", "close"), ("eager", "close"),
    ]  # fmt: skip
    peers = found["cases"]["resnet50:64"]["peers"]
    assert list(peers) == ["cnngen", "eager", "trt"]
    assert peers["trt"] == {"absent": "tensorrt is not installed"}
    assert peers["eager"] == READY | {
        "error": 1e-3, "ms": {"low": 2.0, "median": 2.0, "high": 2.0}, "passes": 6,
    }  # fmt: skip
    assert peers["cnngen"]["start_ms"] == {"first": 800.0}
    assert peers["cnngen"]["build_s"] < READY["build_s"]  # that of making it, not of finding it again


@pytest.mark.parametrize("when", ["start", "passes", "check"])
def test_who_fails_is_a_row_and_the_others_go_on(fakes: type[FakeWorker], tmp_path: Path, when: str) -> None:
    fakes.broken["eager"] = when
    peers = run(tmp_path, "resnet18", "--rounds", "2")["cases"]["resnet18:1"]["peers"]
    assert peers["eager"] == {"failed": f"eager cannot {when}"}
    assert peers["cnngen"]["ms"]["median"] == 1.0
    assert peers["compile"]["ms"]["median"] == 4.0
    assert fakes.said.count(("eager", "close")) == 1


def test_a_network_that_cannot_be_made_is_told_and_the_next_one_runs(
    fakes: type[FakeWorker], tmp_path: Path
) -> None:
    def of(role: str, arguments: list[str], *_: object) -> FakeWorker:
        fakes.broken["prepare"] = "start" if arguments[0] == "unet" else ""
        return fakes(role)

    fakes.of = of
    cases = run(tmp_path, "unet", "resnet18", "--peers", "eager")["cases"]
    assert cases["unet:1"] == {"failed": "prepare cannot start", "peers": {}}
    assert cases["resnet18:1"]["peers"]["cnngen"]["ms"]["median"] == 1.0
    assert "prepare cannot start" in (tmp_path / "compare.md").read_text()


def test_wrong_outputs_are_marked(fakes: type[FakeWorker], tmp_path: Path) -> None:
    found = run(tmp_path, "resnet18", "--peers", "eager")
    assert "WRONG" not in (tmp_path / "compare.md").read_text()
    found["cases"]["resnet18:1"]["peers"]["cnngen"]["error"] = 0.4
    (line,) = [line for line in table(found).splitlines() if "WRONG" in line]
    assert "4.0e-01 WRONG" in line


def test_runs_add_up_on_one_machine_only(fakes: type[FakeWorker], tmp_path: Path) -> None:
    run(tmp_path, "resnet18", "--peers", "eager")
    assert list(run(tmp_path, "unet:2", "--peers", "eager")["cases"]) == ["resnet18:1", "unet:2"]
    fakes.environment = ENVIRONMENT | {"torch": "2.12.0"}
    with pytest.raises(SystemExit, match=r"is of .*2\.11\.0.*, this is .*2\.12\.0"):
        run(tmp_path, "unet:4", "--peers", "eager")


@pytest.mark.parametrize("code", [0, 3])
def test_tuning_comes_before_the_build(
    fakes: type[FakeWorker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The program is asked for as a user would, and fails as it does."""

    def tune(words: list[str], *, cwd: Path, stderr: TextIO, **_: object) -> argparse.Namespace:
        fakes.said.append(("tune", str(cwd / words[-1])))
        assert words[4:-1] == ["--without", "cublaslt", "--without", "cudnn 39"]
        stderr.write("Traceback\nno GPU\n")
        return argparse.Namespace(returncode=code)

    monkeypatch.setattr(compare.subprocess, "run", tune)
    words = ("--peers", "eager", "--tune", "--without", "cublaslt", "--without", "cudnn 39")
    peers = run(tmp_path, "resnet18", *words)["cases"]["resnet18:1"]["peers"]
    spec = str(tmp_path / "work" / "resnet18-1" / "spec.yaml")
    if code:
        assert peers["cnngen"] == {"failed": "cnngen tune: no GPU"}
        assert peers["eager"]["ms"]["median"] == 2.0
    else:
        assert peers["cnngen"]["tune_s"] >= 0
        assert fakes.said.index(("tune", spec)) < fakes.said.index(("cnngen", "start"))


def test_a_build_that_fails_is_a_row(
    fakes: type[FakeWorker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(_case: Case) -> bool:
        raise Failure("cnngen build: no nvcc")

    monkeypatch.setattr(compare, "build", build)
    cases = run(tmp_path, "resnet18", "unet", "--peers", "eager", "--jobs", "2")["cases"]
    for case in cases.values():
        assert case["peers"]["cnngen"] == {"failed": "cnngen build: no nvcc"}
        assert case["peers"]["eager"]["ms"]["median"] == 2.0
    assert ("cnngen", "start") not in fakes.said


def test_arguments(tmp_path: Path) -> None:
    arguments = compare.parse_arguments(["resnet18:8", "--out", "x", "--peers", "trt,eager"])
    assert arguments.peers == ["cnngen", "eager", "trt"]
    with pytest.raises(SystemExit):
        compare.parse_arguments(["resnet18", "--out", "x", "--peers", "caffe"])
    assert parse("resnet18:8", tmp_path, None) == Case("resnet18", 8, tmp_path / "resnet18-8")
    case = parse("unet", tmp_path, None)
    assert Case.of(*case.arguments()) == case


def test_what_tuning_leaves_out_needs_tuning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compare.parse_arguments(["resnet18", "--out", str(tmp_path), "--without", "cublaslt"])
    assert "needs --tune" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("resnet18:0", "expected NETWORK or NETWORK:BATCH"),
        ("resnet18:two", "expected NETWORK or NETWORK:BATCH"),
        ("lenet", "lenet is not known: resnet18, .*--models"),
    ],
)
def test_wrong_names_say_what_is_right(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=why):
        parse(text, tmp_path, None)


def test_a_model_runs_at_its_own_batch(tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "crepe.npz", in_x=np.zeros((2, 1024), np.float32), out_y=np.zeros((2, 360)))
    case = parse("crepe", tmp_path / "work", tmp_path)
    assert (case.batch, case.model, case.label) == (2, tmp_path / "crepe.onnx", "crepe:2")
    with pytest.raises(SystemExit, match="whose batch is 2"):
        parse("crepe:3", tmp_path / "work", tmp_path)


@pytest.fixture
def sample() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "compare.json").read_text())


def test_table(sample: dict[str, Any]) -> None:
    lines = table(sample).splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    assert rows[2][:6] == ["resnet50:1", "cnngen", "0.320 (0.319 to 0.322)", "1.00", "16%", "1.0e-02"]
    assert rows[2][6:] == ["21.3 + 40 tuning", "1500, 240", "310"]
    by_name = {(label, row[1]): row for row in rows for label in [row[0]] if row[1]}
    assert by_name["", "torch.compile max-autotune"][2] == "failed: not waited for: over 180 s"
    assert by_name["", "floor as one: 52 MB"][2:4] == ["0.021", "0.07"]
    assert not any("TensorRT" in line for line in lines if line.startswith("|"))
    assert "- TensorRT: tensorrt cannot be imported: No module named 'tensorrt'" in lines
    assert "copy 3.00 to 3.10 TB/s, float16 product 710 TFLOP/s" in lines[0]


def test_chart(sample: dict[str, Any], tmp_path: Path) -> None:
    """Of several networks, of one, and where nothing ran."""
    pytest.importorskip("matplotlib")
    first = dict(list(sample["cases"].items())[:1])
    for number, cases in enumerate((sample["cases"], first, {})):
        path = tmp_path / f"{number}.png"
        chart(sample | {"cases": cases}, path)
        assert path.read_bytes().startswith(b"\x89PNG")
