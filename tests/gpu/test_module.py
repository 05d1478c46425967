"""The module's API on a GPU: host and device arrays, streams, batches, contexts, profile, trace, errors."""

from __future__ import annotations

import threading
from types import ModuleType
from typing import Any

import numpy as np
import pytest

Arrays = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def inputs(batch: int, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((batch, 3, 16, 16), np.float32),
        rng.standard_normal((batch, 16, 16, 8), np.float32).astype(np.float16),
    )


@pytest.fixture(scope="module")
def net(two_ports: ModuleType) -> Any:  # noqa: ANN401
    return two_ports.Network()


@pytest.fixture
def torch() -> Any:  # noqa: ANN401
    return pytest.importorskip("torch")


def test_outputs_are_a_named_tuple(net: Any) -> None:  # noqa: ANN401
    out = net(*inputs(1))
    assert out._fields == ("fc", "c")
    assert out.fc.shape == (1, 5)
    assert out.fc.dtype == np.float32
    assert out.c.shape == (1, 16, 16, 8)
    assert out.c.dtype == np.float16


def test_inputs_by_name_and_in_order(net: Any) -> None:  # noqa: ANN401
    image, extra = inputs(1)
    np.testing.assert_array_equal(net(image, extra).fc, net(extra=extra, image=image).fc)


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_smaller_batches_run_on_the_next_larger_plan(net: Any, batch: int) -> None:  # noqa: ANN401
    image, extra = inputs(4)
    whole = net(image, extra)
    part = net(image[:batch], extra[:batch])
    np.testing.assert_allclose(part.fc, whole.fc[:batch], rtol=2e-2, atol=1e-3)
    assert part.c.shape[0] == batch


def test_out_is_written(net: Any) -> None:  # noqa: ANN401
    fc, c = np.full((1, 5), np.nan, np.float32), np.full((1, 16, 16, 8), np.nan, np.float16)
    result = net(*inputs(1), out=(fc, c))
    np.testing.assert_array_equal(result[0], fc)
    assert np.isfinite(fc).all()
    assert np.isfinite(c).all()


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_torch_tensors_stay_on_the_gpu(net: Any, torch: Any, batch: int) -> None:  # noqa: ANN401
    image, extra = inputs(batch, seed=batch)
    wanted = net(image, extra)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        result = net(torch.from_numpy(image).cuda(), torch.from_numpy(extra).cuda())
        assert result.fc.is_cuda
        doubled = result.fc * 2  # on the same stream, without a wait
    side.synchronize()
    np.testing.assert_array_equal(result.fc.cpu().numpy(), wanted.fc)
    np.testing.assert_array_equal(doubled.cpu().numpy(), wanted.fc * 2)
    np.testing.assert_array_equal(result.c.cpu().numpy(), wanted.c)


def test_device_memory_is_read_in_place(net: Any, torch: Any) -> None:  # noqa: ANN401
    """Many different tensors in turn: each pass reads and writes its own."""
    context = net.context()
    sets = [[torch.from_numpy(a).cuda() for a in inputs(1, seed=seed)] for seed in range(5)]
    outs = [
        (torch.empty(1, 5, device="cuda"), torch.empty(1, 16, 16, 8, device="cuda", dtype=torch.half))
        for _ in sets
    ]
    for tensors, out in zip(sets, outs, strict=True):
        context.run_async(*tensors, out=out)
    context.synchronize()
    torch.cuda.synchronize()
    for seed, out in enumerate(outs):
        np.testing.assert_array_equal(out[0].cpu().numpy(), net(*inputs(1, seed=seed)).fc)


def test_misaligned_tensors_are_staged(net: Any, torch: Any) -> None:  # noqa: ANN401
    image, extra = inputs(1)
    buffer = torch.empty(image.size + 1, device="cuda")
    shifted = buffer[1:].view(image.shape)
    shifted.copy_(torch.from_numpy(image))
    result = net(shifted, torch.from_numpy(extra).cuda())
    np.testing.assert_array_equal(result.fc.cpu().numpy(), net(image, extra).fc)


def test_any_array_with_an_interface(net: Any, torch: Any) -> None:  # noqa: ANN401
    class Foreign:
        def __init__(self, tensor: Any) -> None:  # noqa: ANN401
            self.tensor = tensor
            self.__cuda_array_interface__ = tensor.__cuda_array_interface__

    image, extra = inputs(1)
    result = net(*(Foreign(torch.from_numpy(a).cuda()) for a in (image, extra)))
    np.testing.assert_array_equal(torch.from_dlpack(result.fc).cpu().numpy(), net(image, extra).fc)


def test_contexts_in_threads_do_not_disturb_each_other(net: Any) -> None:  # noqa: ANN401
    wanted = [net(*inputs(4, seed=seed)).c for seed in range(4)]
    wrong: list[int] = []

    def work(seed: int) -> None:
        context = net.context()
        results = [context.run(*inputs(4, seed=seed)).c for _ in range(50)]
        wrong.extend(seed for result in results if not np.array_equal(result, wanted[seed]))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_profile_and_trace_speak_of_layers(net: Any) -> None:  # noqa: ANN401
    data = inputs(1)
    profile = net.profile(*data)
    assert all(microseconds > 0 for _, microseconds in profile)
    assert [name for name, _ in profile if name.startswith("a")]
    trace = net.trace(*data)
    np.testing.assert_allclose(trace["fc"].astype(np.float32), net(*data).fc, rtol=1e-2, atol=1e-3)
    assert trace["a"].shape == (1, 8, 16, 16)


def test_summary(net: Any) -> None:  # noqa: ANN401
    text = net.summary()
    for word in ("two_ports", "float16 storage", "cuDNN", "workspace", "batch 4"):
        assert word in text
    assert set(net.startup) >= {"weights", "plans", "capture"}
    assert net.memory["weights"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda image, extra: (image[:, :2], extra), r"shape"),
        (lambda image, extra: (image.astype(np.float64), extra), r"float64.*float32|float32.*float64"),
        (lambda image, extra: (image, extra.transpose(0, 3, 1, 2)), r"shape|layout"),
        (lambda image, extra: (np.concatenate([image] * 5), np.concatenate([extra] * 5)), r"5.*4|4.*5"),
        (lambda image, extra: (image, np.concatenate([extra] * 2)), r"items|batch"),
    ],
)
def test_wrong_inputs_get_one_clear_message(
    two_ports: ModuleType,
    net: Any,  # noqa: ANN401
    change: Any,  # noqa: ANN401
    message: str,
) -> None:
    with pytest.raises((two_ports.ArgumentError, TypeError), match=message):
        net(*change(*inputs(1)))


def test_missing_input_names_it(net: Any) -> None:  # noqa: ANN401
    with pytest.raises(TypeError, match="'extra' is missing"):
        net(inputs(1)[0])


def test_no_such_gpu(two_ports: ModuleType) -> None:
    with pytest.raises(two_ports.ArgumentError, match="there is no GPU 99"):
        two_ports.Network(99)
