"""The module over a fake of CUDA, built once."""

# ruff: noqa: ANN401 - the module under test is compiled here and has no types

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from .fake import HERE, VIEW, build_fake, lazily


@pytest.fixture(scope="session")
def fakenet(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The compiled package; `fakenet.fake` reaches the fake CUDA inside."""
    return build_fake(tmp_path_factory.mktemp("runtime"), VIEW, HERE / "network.cpp")


@pytest.fixture
def net(fakenet: ModuleType) -> Any:
    return fakenet.Network(plan_cache="")


@pytest.fixture
def lazy(fakenet: ModuleType) -> Iterator[None]:
    with lazily(fakenet):
        yield
