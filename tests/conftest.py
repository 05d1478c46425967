"""What all tests share: the flag that rewrites goldens, and tests that need what this machine may lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnngen.codegen.architectures import gpus

HERE = Path(__file__).parent
NEEDS = {folder: HERE / folder for folder in ("cpu", "compiler", "conformance", "models", "torch", "gpu")}

# What takes longest comes first, so that no process is left alone with it in the end.
LONGEST = [
    HERE / "unit" / "examples" / "test_docs.py",
    HERE / "conformance",
    HERE / "compiler",
    HERE / "unit" / "examples",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite committed goldens; review the diff"
    )


@pytest.fixture(scope="session")
def update_golden(pytestconfig: pytest.Config) -> bool:
    return bool(pytestconfig.getoption("--update-golden"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's folder says what it needs."""
    items.sort(
        key=lambda item: next(
            (place for place, path in enumerate(LONGEST) if item.path.is_relative_to(path)), len(LONGEST)
        )
    )
    without_gpu = pytest.mark.skip(reason="needs a GPU")
    present = bool(gpus())
    for item in items:
        for marker, folder in NEEDS.items():
            if item.path.is_relative_to(folder):
                item.add_marker(marker)
        if item.get_closest_marker("gpu") is not None and not present:
            item.add_marker(without_gpu)


def pytest_report_header() -> str:
    found = gpus()
    return f"GPUs: {', '.join(f'sm_{gpu}' for gpu in found)}" if found else "GPUs: none"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum("needs a GPU" in str(report.longrepr) for report in skipped)
    others = len(skipped) - count
    if count:
        rest = f"{others} for other reasons" if others else "everything else ran"
        terminalreporter.write_line(f"{count} tests need a GPU and were skipped; {rest}")
