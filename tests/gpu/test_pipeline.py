"""Pipelines and contexts side by side on a GPU: the same bits as one context alone gives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

Arrays = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
RUNS = 10_000
LARGEST = 4  # planned batch


def inputs(batch: int, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((batch, 3, 16, 16), np.float32),
        rng.standard_normal((batch, 16, 16, 8), np.float32).astype(np.float16),
    )


def is_same(got: Any, wanted: Any) -> bool:  # noqa: ANN401
    return all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True))


def in_threads(*functions: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def guarded(function: Callable[[], None]) -> None:
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


@pytest.fixture(scope="module")
def net(two_ports: ModuleType) -> Any:  # noqa: ANN401
    return two_ports.Network()


@pytest.fixture(scope="module")
def batches(net: Any) -> list[tuple[Arrays, Any]]:  # noqa: ANN401
    """Batches of every size with what one context gives for each, alone on the GPU."""
    given = [inputs(1 + seed % LARGEST, seed) for seed in range(32)]
    return [(arrays, net(*arrays)) for arrays in given]


def test_two_contexts_on_two_threads_never_disturb_each_other(
    net: Any,  # noqa: ANN401
    batches: list[tuple[Arrays, Any]],
) -> None:
    """Each thread runs other batches than the other one at the time; every result is compared bit for bit."""
    wrong: list[tuple[int, int]] = []
    done = [0, 0]

    def work(thread: int) -> Callable[[], None]:
        def body() -> None:
            context = net.context()
            for i in range(RUNS // 2):
                arrays, wanted = batches[(i * (2 * thread + 1) + 5 * thread) % len(batches)]
                if not is_same(context.run(*arrays), wanted):
                    wrong.append((thread, i))
                done[thread] += 1

        return body

    in_threads(work(0), work(1))
    assert sum(done) == RUNS
    assert wrong == []


@pytest.mark.parametrize("contexts", [1, 2, 3, 4])
def test_a_pipeline_gives_the_bits_of_single_runs(
    two_ports: ModuleType,
    net: Any,  # noqa: ANN401
    batches: list[tuple[Arrays, Any]],
    contexts: int,
) -> None:
    order = [batches[(7 * i) % len(batches)] for i in range(1000)]
    wrong = []
    with two_ports.Pipeline(net, contexts) as pipeline:
        taken = 0
        for arrays, _ in order:
            if pipeline.pending == contexts:
                wrong += [] if is_same(pipeline.next(), order[taken][1]) else [taken]
                taken += 1
            copies = [array.copy() for array in arrays]
            pipeline.submit(*copies)
            for copy in copies:  # free on return
                copy.fill(np.nan)
        while pipeline.pending:
            wrong += [] if is_same(pipeline.next(), order[taken][1]) else [taken]
            taken += 1
    assert taken == len(order)
    assert wrong == []


def test_pipelines_on_two_threads(net: Any, batches: list[tuple[Arrays, Any]]) -> None:  # noqa: ANN401
    def work(first: int) -> Callable[[], None]:
        def body() -> None:
            with net.pipeline(2) as pipeline:
                for i in range(500):
                    arrays, _ = batches[(first + i) % len(batches)]
                    pipeline.submit(*arrays)
                    if i:
                        assert is_same(pipeline.next(), batches[(first + i - 1) % len(batches)][1])

        return body

    in_threads(work(0), work(11))


def test_map_gives_the_bits_of_its_batches(net: Any) -> None:  # noqa: ANN401
    image, extra = inputs(401, seed=9)
    for batch in (1, 3, 4):
        parts = [slice(i, i + batch) for i in range(0, len(image), batch)]
        wanted = [row for part in parts for row in zip(*net(image[part], extra[part]), strict=True)]
        results = list(net.map(zip(image, extra, strict=True), batch=batch))
        assert len(results) == len(wanted)
        assert all(is_same(result, row) for result, row in zip(results, wanted, strict=True))


def test_page_locked_tensors(net: Any) -> None:  # noqa: ANN401
    torch = pytest.importorskip("torch")
    given = [inputs(LARGEST, seed) for seed in range(6)]
    pinned = [tuple(torch.from_numpy(array).pin_memory() for array in arrays) for arrays in given]
    with net.pipeline() as pipeline:
        for arrays in pinned:
            pipeline.submit(*arrays)
        for arrays in given:
            result = pipeline.next()
            assert isinstance(result.fc, torch.Tensor)
            assert is_same([output.numpy() for output in result], net(*arrays))


def test_a_map_that_is_left_or_fails_leaves_the_network_as_it_was(
    two_ports: ModuleType,
    net: Any,  # noqa: ANN401
    batches: list[tuple[Arrays, Any]],
) -> None:
    image, extra = inputs(100)

    def iterable() -> Iterator[Arrays]:
        yield from zip(image[:50], extra[:50], strict=True)
        raise KeyError("the user's own")

    results = net.map(zip(image, extra, strict=True))
    next(results)
    results.close()
    done = 0
    with pytest.raises(KeyError, match="the user's own"):  # noqa: PT012 - results before it are counted
        for _ in net.map(iterable()):
            done += 1
    assert done == 50
    with pytest.raises(two_ports.ArgumentError, match="input 'image': got shape"):
        list(net.map([(image[0][:, :8].copy(), extra[0])]))
    for arrays, wanted in batches:
        assert is_same(net(*arrays), wanted)


def test_tensors_on_the_gpu_need_no_pipeline(two_ports: ModuleType, net: Any) -> None:  # noqa: ANN401
    torch = pytest.importorskip("torch")
    with net.pipeline(1) as pipeline, pytest.raises(two_ports.ArgumentError, match="arrays on the host"):
        pipeline.submit(*(torch.from_numpy(array).cuda() for array in inputs(1)))
