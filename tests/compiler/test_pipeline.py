"""Pipelines over the fake of CUDA, whose streams run only as far as somebody waits: what is read, written or used again
too early gives wrong results.
"""

# ruff: noqa: ANN401 - the module under test is compiled here and has no types

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from .fake import OnDevice, batch, check, check_items, count, items

LARGEST = 4  # planned batch
pytestmark = pytest.mark.usefixtures("lazy")


def memory(fakenet: ModuleType) -> tuple[int, int]:
    gc.collect()
    return fakenet.fake.fake_used(), fakenet.fake.fake_pinned()


# --- map ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("contexts", [1, 2, 3, 5])
def test_map_gives_every_result_in_order(net: Any, fakenet: ModuleType, contexts: int) -> None:
    for n in (0, 1, 3, 4, 5, 8, 11, 12, 13, 61):
        given = items(n, seed=n)
        results = list(net.map(iter(given), contexts=contexts))
        assert all(isinstance(result, fakenet.Outputs) for result in results)
        check_items(results, given)
    by_name = [{"b": b, "a": a} for a, b in given]
    check_items(net.map(by_name, contexts=contexts, batch=3), given)
    check_items(net.map([list(item) for item in given], contexts=contexts, batch=1), given)


def test_items_become_batches(net: Any, fakenet: ModuleType) -> None:
    def graphs(batch: int | None) -> int:
        before = count(fakenet, "cudaGraphLaunch")
        check_items(net.map(items(13), batch=batch), items(13))
        return count(fakenet, "cudaGraphLaunch") - before

    assert [graphs(batch) for batch in (None, 4, 3, 1)] == [4, 4, 5, 13]


@pytest.mark.parametrize("contexts", [1, 2, 3])
def test_as_many_passes_as_contexts_are_under_way(net: Any, fakenet: ModuleType, contexts: int) -> None:
    pulled = 0

    def iterable() -> Iterator[Any]:
        nonlocal pulled
        for item in items(100):
            pulled += 1
            yield item

    for done, _ in enumerate(net.map(iterable(), contexts=contexts)):
        assert pulled - done <= (contexts + 1) * LARGEST
    assert pulled == 100
    assert count(fakenet, "most graphs waiting") == contexts


def test_a_pass_waits_for_nothing_but_its_context(net: Any, fakenet: ModuleType) -> None:
    waits = ("cudaEventSynchronize", "cudaStreamSynchronize", "cudaStreamWaitEvent", "copies that wait")
    with fakenet.Pipeline(net) as pipeline:
        before = count(fakenet, *waits)
        for _ in range(3):
            pipeline.submit(*batch(4))
        assert count(fakenet, *waits) == before
        assert count(fakenet, "graphs waiting") == 3
        pipeline.submit(*batch(4))  # the first one has run, no other
        assert count(fakenet, "graphs waiting") == 3


def test_submit_waits_while_all_contexts_are_busy(net: Any, fakenet: ModuleType) -> None:
    """Inputs are free on return; what nobody has taken yet is delivered all the same, in order."""
    pipeline, given = fakenet.Pipeline(net, contexts=2), [batch(1 + i % 4, seed=i) for i in range(9)]
    copies = [(a.copy(), b.copy()) for a, b in given]
    for a, b in copies:
        pipeline.submit(b=b, a=a)
        a[:] = b[:] = np.nan
    assert pipeline.pending == len(given)
    assert count(fakenet, "most graphs waiting") == 2
    for a, b in given:
        result = pipeline.next()
        assert isinstance(result, fakenet.Outputs)
        check(result, a, b)
    assert pipeline.pending == 0
    with pytest.raises(fakenet.ArgumentError, match="no pass has been submitted"):
        pipeline.next()


def test_a_pass_allocates_nothing_and_copies_by_page_locked_memory(net: Any, fakenet: ModuleType) -> None:
    costly = ("cudaMalloc", "cudaHostAlloc", "cudaEventCreate", "retarget", "copies that wait")
    with fakenet.Pipeline(net) as pipeline:
        before = count(fakenet, *costly)
        check_items(pipeline.map(items(90)), items(90))
        assert count(fakenet, *costly) == before


def test_page_locked_arrays_are_read_in_place(net: Any, fakenet: ModuleType) -> None:
    """Which shows by what the GPU reads when it comes to it."""

    def page_locked(values: Any) -> Any:
        address = ctypes.c_void_p()
        fakenet.fake.cudaHostAlloc(ctypes.byref(address), ctypes.c_size_t(values.nbytes), 0)
        floats = (ctypes.c_float * values.size).from_address(address.value or 0)
        array = np.ctypeslib.as_array(floats).reshape(values.shape)
        array[:] = values
        return array

    a, b = batch(4)
    there = page_locked(a), page_locked(b)
    with fakenet.Pipeline(net) as pipeline:
        pipeline.submit(*there)
        there[0][:] = 7
        check(pipeline.next(), np.full_like(a, 7), b)
    check_items(net.map(zip(*there, strict=True)), list(zip(*there, strict=True)))


def test_results_are_of_the_inputs_library(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = type("Tensor", (np.ndarray,), {"__module__": "torch", "is_cuda": False, "device": "cpu"})

    def empty(shape: tuple[int, ...], dtype: Any, device: str) -> Any:
        assert device == "cpu"
        return np.full(shape, np.nan, dtype).view(tensor)

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(empty=empty, float32=np.float32))
    given = items(6)
    results = list(net.map((a.view(tensor), b.view(tensor)) for a, b in given))
    assert all(type(part) is tensor for result in results for part in result)
    check_items(results, given)


def test_arrays_on_the_gpu_need_no_pipeline(net: Any, fakenet: ModuleType) -> None:
    a, b = batch(1)
    there = OnDevice(fakenet, a), OnDevice(fakenet, b)
    with fakenet.Pipeline(net) as pipeline:
        for arrays in (there, (there[0], b), (a, there[1])):
            with pytest.raises(fakenet.ArgumentError, match="arrays on the host"):
                pipeline.submit(*arrays)


# --- what goes wrong ---------------------------------------------------------------------------------------------


def taken(results: Iterator[Any], given: Any, error: type[Exception], message: str) -> int:
    """How many results came, each of them right, before the error."""
    done = 0
    with pytest.raises(error, match=message):  # noqa: PT012 - which of them raises is counted
        for result, (a, b) in zip(results, given, strict=False):
            check(result, a, b)
            done += 1
    assert list(results) == []
    return done


@pytest.mark.parametrize("at", [0, 1, 3, 4, 22, 39])
def test_what_the_iterable_raises_comes_after_the_results_before(
    net: Any, fakenet: ModuleType, at: int
) -> None:
    given, before = items(40), memory(fakenet)

    def iterable() -> Iterator[Any]:
        for i, item in enumerate(given):
            if i == at:
                raise KeyError("the user's own")
            yield item

    assert taken(net.map(iterable()), given, KeyError, "the user's own") == at
    assert memory(fakenet) == before


@pytest.mark.parametrize("at", [0, 3, 21])
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda a, b: (a[:2], b), ValueError, r"input 'a': got shape \(2,\), expected \(3,\)"),
        (lambda a, b: (a[None], b), ValueError, r"input 'a': got shape \(1, 3\), expected \(3,\)"),
        (lambda a, b: (a, b.astype(np.float64)), TypeError, "input 'b': got float64, expected float32"),
        (lambda a, b: (a, b.T), ValueError, "not contiguous"),
        (lambda a, _: a, TypeError, "'b' is missing"),
        (lambda a, b: {"a": a, "c": b}, TypeError, "there is no 'c'"),
        (lambda *_: None, TypeError, "'b' is missing"),
    ],
)
def test_a_wrong_item_says_so_in_its_place(
    net: Any, at: int, wrong: Any, error: type[Exception], message: str
) -> None:
    given = items(30)
    mixed = [*given[:at], wrong(*given[at]), *given[at + 1 :]]
    assert taken(net.map(mixed), given, error, message) == at


@pytest.mark.parametrize("function", ["cudaGraphLaunch", "cudaMemcpyAsync", "kernels"])
@pytest.mark.parametrize("nth", [1, 2, 4, 6])
def test_a_pass_that_fails_says_so_in_its_place(
    net: Any, fakenet: ModuleType, function: str, nth: int
) -> None:
    """Whether it cannot be enqueued or fails while it runs; the pipeline goes on."""
    given, calls = items(40), 4 if function == "cudaMemcpyAsync" else 1  # two inputs and two outputs
    with fakenet.Pipeline(net) as pipeline:
        for last in range(calls):
            fakenet.fake.fake_fail(function.encode(), ctypes.c_long(nth * calls - last))
            assert taken(pipeline.map(given), given, fakenet.Error, "cudaErrorFake") == (nth - 1) * LARGEST
            assert pipeline.pending == 0
            check_items(pipeline.map(given), given)


def test_a_failure_is_of_its_pass_alone(net: Any, fakenet: ModuleType) -> None:
    given = [batch(4, seed=i) for i in range(7)]
    with fakenet.Pipeline(net) as pipeline:
        fakenet.fake.fake_fail(b"kernels", ctypes.c_long(3))
        for arrays in given:
            pipeline.submit(*arrays)
        for i, arrays in enumerate(given):
            if i == 2:
                with pytest.raises(fakenet.Error, match="running 'fakenet': an error"):
                    pipeline.next()
            else:
                check(pipeline.next(), *arrays)
        fakenet.fake.fake_fail(b"cudaGraphLaunch", ctypes.c_long(2))
        pipeline.submit(*given[0])
        with pytest.raises(fakenet.Error, match="launching 'fakenet'"):
            pipeline.submit(*given[1])
        with pytest.raises(fakenet.ArgumentError, match="input 'b' has 2 items, input 'a' has 4"):
            pipeline.submit(given[1][0], given[1][1][:2])
        pipeline.submit(*given[2])
        check(pipeline.next(), *given[0])
        check(pipeline.next(), *given[2])


def test_an_event_that_fails_costs_no_result(net: Any, fakenet: ModuleType) -> None:
    with fakenet.Pipeline(net) as pipeline:
        fakenet.fake.fake_fail(b"cudaEventRecord", ctypes.c_long(2))
        check_items(pipeline.map(items(20)), items(20))


def test_outputs_of_a_failed_pass_are_not_written_later(net: Any, fakenet: ModuleType) -> None:
    """Their owner has been told, and may have given the memory up."""
    context, a, b = net.context(), *batch(4)
    out = np.full_like(a, 5), np.full_like(b, 5)
    for function, nth in (("cudaGraphLaunch", 1), ("cudaMemcpyAsync", 4)):
        fakenet.fake.fake_fail(function.encode(), ctypes.c_long(nth))
        with pytest.raises(fakenet.Error):
            context.run_async(a, b, out=out)
        context.synchronize()
    fakenet.fake.fake_fail(b"kernels", ctypes.c_long(1))
    context.run_async(a, b, out=out)
    with pytest.raises(fakenet.Error):
        context.synchronize()
    context.synchronize()
    assert (out[0] == 5).all()
    assert (out[1] == 5).all()
    check(context.run(a, b), a, b)


def test_wrong_numbers(net: Any, fakenet: ModuleType) -> None:
    with pytest.raises(ValueError, match="batch: got 5, expected 1 to 4"):
        net.map([], batch=5)
    with pytest.raises(ValueError, match="batch: got 0"):
        net.map([], batch=0)
    with pytest.raises(fakenet.ArgumentError, match="at least one context"):
        net.map([], contexts=0)
    assert list(net.map([])) == []
    with pytest.raises(TypeError, match="not iterable"):
        list(net.map(3))


# --- the end -----------------------------------------------------------------------------------------------------


def test_a_map_that_is_left_early_stops(net: Any, fakenet: ModuleType) -> None:
    before, pulled = memory(fakenet), 0

    def iterable() -> Iterator[Any]:
        nonlocal pulled
        for item in items(100):
            pulled += 1
            yield item

    for done, _ in enumerate(net.map(iterable())):
        if done == 5:
            break
    gc.collect()
    seen = pulled
    assert seen < 50
    assert count(fakenet, "graphs waiting") == 0
    assert memory(fakenet) == before

    with fakenet.Pipeline(net) as pipeline:
        results = pipeline.map(items(100))
        next(results)
        assert pipeline.pending > 0
        with pytest.raises(fakenet.ArgumentError, match="results are still to be taken"):
            pipeline.map(items(3))
        results.close()
        assert pipeline.pending == 0
        check_items(pipeline.map(items(9)), items(9))
    assert memory(fakenet) == before


def test_a_closed_pipeline(net: Any, fakenet: ModuleType) -> None:
    before = memory(fakenet)
    pipeline = fakenet.Pipeline(net)
    for _ in range(2):
        pipeline.submit(*batch(4))
    pipeline.close()
    assert memory(fakenet) == before
    assert pipeline.pending == 0
    for call in (pipeline.next, lambda: pipeline.submit(*batch(1))):
        with pytest.raises(fakenet.Error, match="the pipeline is closed"):
            call()
    pipeline.close()


def test_a_pipeline_that_is_dropped_waits_for_what_writes_to_its_arrays(
    net: Any, fakenet: ModuleType
) -> None:
    before, pipeline = memory(fakenet), net.pipeline(2)
    pipeline.submit(*batch(4))
    del pipeline
    assert memory(fakenet) == before
    assert count(fakenet, "graphs waiting") == 0
