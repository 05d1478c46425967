"""Projects on disk: whole or not at all, only what changed, nothing outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cnngen.codegen.project import RUNTIME, ProjectError, runtime_files, write_project
from cnngen.codegen.targets import CPU, CUDA


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_only_changes_are_written(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    assert write_project({"a.txt": "a", "src/b.txt": "b"}, folder) == ["a.txt", "src/b.txt"]
    before = (folder / "a.txt").stat().st_mtime_ns
    assert write_project({"a.txt": "a", "src/b.txt": "c"}, folder) == ["src/b.txt"]
    assert (folder / "a.txt").stat().st_mtime_ns == before
    assert (folder / "src/b.txt").read_text() == "c"


def test_what_is_no_longer_generated_goes_and_the_rest_stays(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    write_project({"a.txt": "a", "old/b.txt": "b"}, folder)
    (folder / "mine.txt").write_text("mine")
    assert write_project({"a.txt": "a"}, folder) == ["old/b.txt"]
    assert tree(folder) == {"a.txt": "a", "mine.txt": "mine", ".cnngen-files": "a.txt\n"}
    assert not (folder / "old").exists()


def test_a_writer_is_given_a_path(tmp_path: Path) -> None:
    write_project({"w.bin": lambda path: path.write_bytes(b"123")}, tmp_path / "net")
    assert (tmp_path / "net/w.bin").read_bytes() == b"123"


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x", "link/x", "..", "a\\..\\x"])
def test_nothing_is_written_outside(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(ProjectError, match="refused to write outside"):
        write_project({"a.txt": "a", name: "x"}, folder)
    assert sorted(os.listdir(tmp_path)) == ["net"]
    assert os.listdir(folder) == ["link"]


def test_a_stale_list_deletes_nothing_outside(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    (tmp_path / "precious").write_text("x")
    (folder / ".cnngen-files").write_text(f"../precious\n{tmp_path}/precious\n")
    write_project({"a.txt": "a"}, folder)
    assert (tmp_path / "precious").exists()


def test_files_of_somebody_else_are_not_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "README.md").write_text("mine")
    with pytest.raises(
        ProjectError, match=r"holds files that cnngen has not written: README\.md; remove them"
    ):
        write_project({"README.md": "generated", "a.txt": "a"}, folder)
    assert tree(folder) == {"README.md": "mine"}
    write_project({"README.md": "mine", "a.txt": "a"}, folder)  # equal: a checkout's golden


def full_disk(path: Path) -> None:
    path.write_bytes(b"half")
    raise OSError(28, "No space left on device", str(path))


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    write_project({"a.txt": "a"}, folder)
    before = tree(folder)
    with pytest.raises(
        ProjectError, match=r"No space left on device; \d+ MB are free at .*; free some, or write"
    ):
        write_project({"a.txt": "changed", "w.bin": full_disk}, folder)
    assert tree(folder) == before


def test_a_full_disk_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="No space left on device"):
        write_project({"a.txt": "a", "w.bin": full_disk}, tmp_path / "net")
    assert os.listdir(tmp_path) == []


def test_a_failing_writer_changes_nothing(tmp_path: Path) -> None:
    def broken(path: Path) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        write_project({"a.txt": "a", "w.bin": broken}, tmp_path / "net")
    assert os.listdir(tmp_path) == []


def test_a_project_carries_its_runtime_unless_the_checkout_is_around_it(tmp_path: Path) -> None:
    files = runtime_files(tmp_path / "generated" / "net")
    assert {"cnngen/cmake/cnngen_network.cmake", "cnngen/cmake/overlay.py"} <= set(files)
    assert any(name.startswith("cnngen/include/cnngen/cuda/kernels/") for name in files)
    assert runtime_files(RUNTIME / "generated" / "net") == {}
    assert runtime_files(RUNTIME / "generated" / "cpu" / "net") == {}


def test_a_project_carries_the_runtime_of_its_target_alone(tmp_path: Path) -> None:
    for target, other in ((CPU, CUDA), (CUDA, CPU)):
        files = runtime_files(tmp_path / "net", target)
        assert f"cnngen/include/cnngen/{target.name}/network.hpp" in files
        assert f"cnngen/cmake/cnngen_{target.name}.cmake" in files
        assert [name for name in files if other.name in name] == []
