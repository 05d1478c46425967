"""Imports what a build made. A program that runs a network needs this module and no other of cnngen's."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from os import PathLike
from pathlib import Path
from types import ModuleType


def module_path(folder: Path) -> Path:
    """Where the extension module of a project lies once it is built, for the running Python."""
    return folder / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"


def load_project(project: str | PathLike[str]) -> ModuleType:
    """Import a built project from its folder, wherever that is, under the folder's name.

    Raises:
        BuildError: it is not built for this Python, or another module of that name is already imported.
    """
    folder = Path(project).resolve()
    if not module_path(folder).is_file():
        raise _error(f"{project} is not built for Python {sys.version.split()[0]}: run cnngen build first")
    loaded = sys.modules.get(folder.name)
    if loaded is not None:
        if Path(loaded.__file__ or "").resolve().parent != folder:
            raise _error(f"another module {folder.name!r} is already imported, from {loaded.__file__}")
        return loaded
    spec = importlib.util.spec_from_file_location(
        folder.name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise _error(f"{folder}/__init__.py cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[folder.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[folder.name]
        raise
    return module


def _error(text: str) -> Exception:
    # Not at the top: it brings all that reads specs, which takes half a second.
    from cnngen.codegen.architectures import BuildError

    return BuildError(text)
