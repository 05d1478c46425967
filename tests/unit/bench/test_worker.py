"""bench/worker.py: whatever becomes of a worker, its parent gets an answer or a reason."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import worker
from worker import Failure, Worker

PROGRAM = """
import json, os, subprocess, sys, time
sys.path.insert(0, {bench!r})
import worker

def role(_role, arguments, questions):
    print("a library's remark")
    os.write(1, b"and one by C\\n")
    yield {{"arguments": arguments}}
    for line in questions:
        question = json.loads(line)
        if "raise" in question:
            raise ValueError("no engine\\n  for conv1")
        if "die" in question:
            os.write(2, b"free(): invalid pointer\\n\\n")
            os._exit(3)
        if "child" in question:
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            with open(question["child"], "w") as file:
                file.write(str(child.pid))
            time.sleep(600)
        yield question

worker.ROLES["fake"] = role
worker.main()
"""


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Worker]:
    program = tmp_path / "fake.py"
    program.write_text(PROGRAM.format(bench=str(Path(worker.__file__).parent)))
    made = Worker([sys.executable, str(program), "fake", "one", "two"], tmp_path / "log")
    with closing(made):
        yield made


def test_answers_are_lines_whatever_libraries_print(fake: Worker) -> None:
    assert fake.answer(60) == {"arguments": ["one", "two"]}
    assert fake.ask(60, passes=3) == {"passes": 3}
    assert "and one by C\n" in fake.log.read_text()


def test_an_exception_is_told_in_a_line(fake: Worker) -> None:
    fake.answer(60)
    with pytest.raises(Failure, match=r"^ValueError: no engine for conv1$"):
        fake.ask(60, **{"raise": True})
    assert "Traceback" in fake.log.read_text()


def test_a_crash_is_told_by_the_last_line_of_the_log(fake: Worker) -> None:
    fake.answer(60)
    with pytest.raises(Failure, match=r"^free\(\): invalid pointer$"):
        fake.ask(60, die=True)
    with pytest.raises(Failure, match="invalid pointer"):
        fake.ask(60, passes=1)


def test_one_that_is_late_is_ended_with_its_children(fake: Worker, tmp_path: Path) -> None:
    fake.answer(60)
    told = tmp_path / "child"
    with pytest.raises(Failure, match=r"^not waited for: over 2 s$"):
        fake.ask(2, child=str(told))
    assert fake.process.poll() is not None
    child = int(told.read_text())
    for _ in range(100):
        if not alive(child):
            return
        time.sleep(0.05)
    pytest.fail("its child is still there")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
