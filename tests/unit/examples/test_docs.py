"""Runs every code block of README.md, CONTRIBUTING.md, docs/ and the examples' READMEs.

An HTML comment before a block says what it is:

    <!-- file: NAME -->      the block is written to NAME
    <!-- run -->             sh or python; must succeed
    <!-- run: fails -->      must fail with exit code 1
    <!-- run: cpu -->        needs g++ and oneDNN; `compiler` needs nvcc and cuDNN, `gpu` a GPU
    <!-- output -->          what the block before printed; `...` stands for anything
    <!-- excerpt: PATH -->   stands in PATH, word for word, a line `...` between its parts
    <!-- make -->            every target exists
    <!-- shown: WHY -->      not run, and why

A page's blocks run in order in a folder that holds a copy of examples/; python blocks see the names of the
ones before. What needs a compiler or a GPU is a test of its own, which runs the rest of the page too. The
pages follow each other in one folder, which keeps nothing but what they built: it is compiled once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from cnngen.spec.onnx.rules import RULES

CHECKOUT = Path(__file__).resolve().parents[3]
GENERATED = ("docs/layers.md",)  # made from the models, and tested with them
PAGES = sorted(
    path.relative_to(CHECKOUT).as_posix()
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/*.md", "examples/*/README.md")
    for path in CHECKOUT.glob(pattern)
    if path.relative_to(CHECKOUT).as_posix() not in GENERATED
)
LEVELS = ("unit", "cpu", "compiler", "gpu")
KINDS = ("file", "run", "output", "excerpt", "make", "shown")
BLOCK = re.compile(r"(?:<!-- (\w+)(?:: (.+?))? -->\n)?```(\w*)\n(.*?)```\n", re.DOTALL)
KEPT = ("generated", "build", "app")
TIMEOUT_S = 600


@dataclass(frozen=True)
class Block:
    where: str  # page:line
    kind: str
    words: tuple[str, ...]
    language: str
    text: str

    @property
    def argument(self) -> str:
        return " ".join(self.words)

    @property
    def level(self) -> int:
        return max((LEVELS.index(word) for word in self.words if word in LEVELS), default=0)

    @property
    def fails(self) -> bool:
        return self.kind == "run" and "fails" in self.words


def blocks(page: str) -> list[Block]:
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        kind, words, language, body = match.groups()
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(f"{page}:{line}", kind or "", tuple((words or "").split()), language, body))
    return found


def pages_with(kind: str, level: int = 0) -> list[str]:
    def has(page: str) -> bool:
        return any(block.kind == kind and block.level == level for block in blocks(page))

    return [page for page in PAGES if has(page)]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pages are run, and the command, also where cnngen is not installed."""
    folder = tmp_path_factory.mktemp("docs")
    command = folder / "bin" / "cnngen"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m cnngen "$@"\n')
    command.chmod(0o755)
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page: str) -> None:
    found = blocks(page)
    assert [block.where for block in found if block.kind not in KINDS] == []
    assert 2 * len(found) == (CHECKOUT / page).read_text().count("```")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = CHECKOUT / page
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL))
    local = [link.partition("#")[0] for link in links if not link.startswith(("http:", "https:", "#"))]
    assert [link for link in local if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_lines_are_short(page: str) -> None:
    lines = (CHECKOUT / page).read_text().splitlines()
    assert [k for k, line in enumerate(lines, 1) if len(line) > 120 and not line.startswith("|")] == []


@pytest.mark.parametrize("page", pages_with("make"))
def test_make_targets_exist(page: str) -> None:
    lines = [line for block in blocks(page) if block.kind == "make" for line in block.text.splitlines()]
    commands = [line.partition("#")[0].split() for line in lines]
    for command in commands:
        assert command[0] == "make"
        dry = [str(shutil.which("make")), "-n", *command[1:]]
        subprocess.run(dry, cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("page", pages_with("run"))
def test_page(page: str, desk: Path) -> None:
    if any("torch" in block.words for block in blocks(page)):
        pytest.importorskip("torch")
    Runner(desk).run(page, 0)


@pytest.mark.cpu
@pytest.mark.parametrize("page", pages_with("run", 1))
def test_page_on_the_cpu(page: str, desk: Path) -> None:
    Runner(desk).run(page, 1)


@pytest.mark.compiler
@pytest.mark.parametrize("page", pages_with("run", 2))
def test_page_with_compiler(page: str, desk: Path) -> None:
    Runner(desk).run(page, 2)


@pytest.mark.gpu
@pytest.mark.compiler
@pytest.mark.parametrize("page", pages_with("run", 3))
def test_page_with_gpu(page: str, desk: Path) -> None:
    Runner(desk).run(page, 3)


@pytest.mark.parametrize("page", PAGES)
def test_excerpts_are_true(page: str) -> None:
    for block in blocks(page):
        if block.kind == "excerpt":
            text = (CHECKOUT / block.argument).read_text(encoding="utf-8")
            for part in re.split(r"^ *\.\.\.\n", block.text, flags=re.MULTILINE):
                assert part in text, f"{block.where}: not in {block.argument}:\n{part}"


def test_quoted_messages_are_in_the_code() -> None:
    """Of each message that docs/troubleshooting.md quotes in bold, every part between `...`."""
    folders = ("spec", "codegen", "include", "cmake", "templates")
    files = (path for folder in folders for path in (CHECKOUT / folder).rglob("*") if path.is_file())
    code = "\n".join(path.read_text(encoding="utf-8", errors="ignore") for path in files)
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # texts that go on in the next line
    page = (CHECKOUT / "docs" / "troubleshooting.md").read_text()
    bold = re.findall(r"^\*\*(.*?)\*\*", page, flags=re.DOTALL | re.MULTILINE)
    quotes = [quote for text in bold for quote in re.findall(r"`([^`]+)`", text)]
    parts = [part.strip(" '") for quote in quotes for part in quote.split("...")]
    assert [part for part in parts if len(part) > 4 and part not in code] == []


def test_imported_operators_are_listed() -> None:
    page = (CHECKOUT / "docs" / "onnx.md").read_text()
    listed = re.search(r"^The operators: (.*?)\. ", page, flags=re.DOTALL | re.MULTILINE)
    assert listed is not None
    assert listed[1].replace("\n", " ").split(", ") == list(RULES)


def test_named_functions_exist() -> None:
    """Each `file` | `name` at the head of a table row of docs/architecture.md."""
    page = (CHECKOUT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `([\w./]+)` \| `([\w.:]+)`", page, flags=re.MULTILINE)
    assert len(rows) > 10
    missing = []
    for file, name in rows:
        text = (CHECKOUT / file).read_text()
        if not all(re.search(rf"\b{part}\b", text) for part in re.split(r"\.|::", name)):
            missing.append((file, name))
    assert missing == []


class Runner:
    """Runs a page's blocks below a folder, beside what the pages before have built."""

    def __init__(self, desk: Path) -> None:
        self.folder = desk / "work"
        self.printed: str | None = None  # by the block before; None where that was not run
        self.python: list[str] = []
        path = os.pathsep.join([str(desk / "bin"), f"{sys.prefix}/bin", os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path, "VIRTUAL_ENV": sys.prefix, "COLUMNS": "120"}
        self.folder.mkdir(exist_ok=True)
        for path in self.folder.iterdir():
            if path.is_file():
                path.unlink()
            elif path.name not in KEPT:
                shutil.rmtree(path)
        ignored = shutil.ignore_patterns(".cache", "__pycache__", "[!t]*.safetensors")
        shutil.copytree(CHECKOUT / "examples", self.folder / "examples", ignore=ignored)

    def run(self, page: str, level: int) -> None:
        for block in blocks(page):
            if block.kind == "file":
                path = self.folder / block.words[0]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
            elif block.kind == "run":
                self.printed = self.execute(block) if block.level <= level else None
            elif block.kind == "output" and self.printed is not None:
                check_output(block, self.printed)

    def execute(self, block: Block) -> str:
        mark = "-- this block --"
        if block.language == "python":
            code = "".join([*self.python, f"print({mark!r}, flush=True)\n", block.text])
            command = ["python", "-c", code]
            if not block.fails:
                self.python.append(block.text)
        else:
            assert block.language == "sh", f"{block.where}: nothing runs {block.language}"
            command = ["bash", "-euc", block.text]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == (1 if block.fails else 0), f"{block.where}:\n{block.text}\n{done.stdout}"
        return done.stdout.rpartition(mark)[2].lstrip("\n")


def check_output(block: Block, printed: str) -> None:
    """Holds `printed` against the block, line by line; `...` in a line, or as a line, stands for anything."""
    pattern = re.escape(block.text.strip()).replace(re.escape("..."), ".*")
    assert re.fullmatch(pattern, strip_ends(printed), re.DOTALL), f"{block.where}: printed\n{printed}"


def strip_ends(text: str) -> str:
    """Without the blanks that tables leave at the end of a line."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
