"""Pipelines over the fake of CUDA: what else runs on the host meanwhile, the progress bar, and C++."""

# ruff: noqa: ANN401 - the module under test is compiled here and has no types

from __future__ import annotations

import ctypes
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from .fake import HERE, batch, check, check_items, compile_fake, items
from .objects import run

pytestmark = pytest.mark.usefixtures("lazy")


def in_threads(*functions: Any) -> None:
    failures: list[BaseException] = []

    def guarded(function: Any) -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_pipelines_in_threads_do_not_disturb_each_other(net: Any) -> None:
    def work(seed: int) -> Any:
        def body() -> None:
            for i in range(10):
                given = items(30 + i, seed=100 * seed + i)
                check_items(net.map(given, contexts=1 + seed), given)

        return body

    in_threads(*(work(seed) for seed in range(4)))


def test_one_thread_submits_another_takes(net: Any, fakenet: ModuleType) -> None:
    pipeline, given = fakenet.Pipeline(net), [batch(1 + i % 4, seed=i) for i in range(200)]

    def submit() -> None:
        for arrays in given:
            pipeline.submit(*arrays)

    def take() -> None:
        for arrays in given:
            while not pipeline.pending:
                time.sleep(0)
            check(pipeline.next(), *arrays)

    in_threads(submit, take)


@pytest.mark.parametrize("where", ["submit", "next", "close"])
def test_who_waits_lets_other_threads_run(net: Any, fakenet: ModuleType, where: str) -> None:
    pipeline, given_up = fakenet.Pipeline(net, contexts=1), fakenet.fake.times_given_up()
    pipeline.submit(*batch(4))
    fakenet.fake.hold(ctypes.c_long(1))
    release = threading.Timer(0.05, lambda: fakenet.fake.hold(ctypes.c_long(0)))  # needs the GIL
    release.start()
    calls = {"submit": lambda: pipeline.submit(*batch(4)), "next": pipeline.next, "close": pipeline.close}
    calls[where]()
    release.join()
    assert fakenet.fake.times_given_up() == given_up


# --- the bar -----------------------------------------------------------------------------------------------------


class Terminal:
    """A stderr that says it is one."""

    encoding = "utf-8"

    def __init__(self, is_terminal: bool = True) -> None:
        self.text, self.is_terminal = "", is_terminal

    def isatty(self) -> bool:
        return self.is_terminal

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize(
    ("terminal", "progress", "seconds", "rich", "shown"),
    [
        (True, None, 0.1, True, True),
        (True, True, 0.1, True, True),
        (True, False, 0.1, True, False),
        (True, None, 0.001, True, False),
        (False, None, 0.1, True, False),
        (True, None, 0.1, False, False),
    ],
)
def test_progress(
    net: Any,
    fakenet: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
    progress: bool | None,
    seconds: float,
    rich: bool,
    shown: bool,
) -> None:
    """`seconds`: how long an item takes by the module's clock."""
    clock, given, screen = 0.0, items(40), Terminal(terminal)
    monkeypatch.setattr(fakenet._map, "time", SimpleNamespace(monotonic=lambda: clock))
    monkeypatch.setattr(sys, "stderr", screen)
    if not rich:
        for name in ("rich.console", "rich.progress"):
            monkeypatch.setitem(sys.modules, name, None)
    stdout, done = sys.stdout, []
    for result in net.map(given, progress=progress):
        clock += seconds
        done.append(result)
        assert sys.stdout is stdout
    print("from the program")  # noqa: T201 - what is tested
    check_items(done, given)
    assert ("40/40" in screen.text) == shown
    assert (screen.text != "") == shown
    assert capsys.readouterr().out == "from the program\n"


# --- C++ ---------------------------------------------------------------------------------------------------------


def test_from_cpp(fakenet: ModuleType, tmp_path: Path) -> None:
    """Poisoned outputs, allocations, parts, two threads: tests/compiler/runtime/pipeline.cpp."""
    compile_fake(tmp_path / "pipeline", HERE / "network.cpp", HERE / "pipeline.cpp")
    weights = Path(fakenet.__path__[0]) / "fakenet.weights.safetensors"
    assert run(tmp_path / "pipeline", weights).splitlines() == [
        "in order: 1",
        "in parts: 1",
        "two threads: 1",
        "host allocations: 0",
        "copiers: 1",
    ]
