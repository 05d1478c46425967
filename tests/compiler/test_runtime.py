"""The host runtime with its Python module, run on the CPU: the kernels of a fake of CUDA are host functions.

Passes, staging, retargeted graphs, batches, threads and errors are the runtime's own.
"""

# ruff: noqa: ANN401 - the module under test is compiled here and has no types

from __future__ import annotations

import ctypes
import random
import subprocess
import threading
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from .fake import HERE, PAYLOAD, OnDevice, batch, check, compile_fake, count, read, write_weights
from .objects import INCLUDE, run


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_host_arrays_of_every_batch(net: Any, fakenet: ModuleType, n: int) -> None:
    a, b = batch(n)
    results = net(a, b)
    assert isinstance(results, fakenet.Outputs)
    check(results, a, b)
    check(net.run(b=b, a=a), a, b)
    out = (np.empty_like(a), np.empty_like(b))
    assert net.run(a, b, out=out).scaled is out[0]
    check(out, a, b)


@pytest.mark.parametrize(("n", "offset", "copies"), [(4, 0, 0), (1, 0, 0), (2, 0, 4), (4, 4, 1)])
def test_device_arrays_are_copied_only_where_they_must(
    net: Any, fakenet: ModuleType, n: int, offset: int, copies: int
) -> None:
    a, b = batch(n)
    inputs = OnDevice(fakenet, a, offset), OnDevice(fakenet, b)
    outputs = OnDevice(fakenet, 0 * a), OnDevice(fakenet, 0 * b)
    before = count(fakenet, "cudaMemcpyAsync")
    net.run(*inputs, out=outputs, stream=0)
    assert count(fakenet, "cudaMemcpyAsync") - before == copies
    check([read(output) for output in outputs], a, b)
    made = net(*inputs)
    assert isinstance(made.scaled, fakenet.DeviceArray)
    assert made.plus.shape == b.shape
    assert made.plus.__dlpack_device__() == (2, 0)
    check([read(output) for output in made], a, b)


def test_a_pass_neither_allocates_nor_waits(net: Any, fakenet: ModuleType) -> None:
    a, b = batch(4)
    inputs = OnDevice(fakenet, a), OnDevice(fakenet, b)
    outputs = OnDevice(fakenet, 0 * a), OnDevice(fakenet, 0 * b)
    costly = ("cudaMalloc", "cudaHostAlloc", "cudaStreamSynchronize", "cudaEventSynchronize", "retarget")
    net.run(*inputs, out=outputs, stream=0)
    before, launched = count(fakenet, *costly), count(fakenet, "cudaGraphLaunch")
    for _ in range(100):
        net.run(*inputs, out=outputs, stream=0)
    assert count(fakenet, *costly) == before
    assert count(fakenet, "cudaGraphLaunch") == launched + 100


def test_a_network_of_kernels_alone_starts_no_library(fakenet: ModuleType) -> None:
    """cuDNN opens its parts when it is first asked for anything, which takes longer than all else."""
    network = fakenet.Network(plan_cache="")
    check(network.run(*batch(2)), *batch(2))
    assert count(fakenet, "cudnnGetVersion", "cudnnCreate", "cublasLtCreate") == 0


def test_a_second_pass_delivers_the_first(net: Any) -> None:
    context, first, second = net.context(), batch(3), batch(2, seed=1)
    one = context.run_async(*first)
    two = context.run_async(*second)
    check(one, *first)
    context.synchronize()
    check(two, *second)


def test_trace_profile_summary(net: Any) -> None:
    a, b = batch(3)
    trace = net.trace(a, b)
    assert list(trace) == ["load", "scale", "plus", "out"]
    np.testing.assert_array_equal(trace["plus"], (b + 1).transpose(0, 3, 1, 2))
    assert [layer for layer, _ in net.profile(a, b)] == list(trace)
    assert "Fake GPU" in net.summary()
    assert list(net.startup) == ["context", "libraries", "plans", "weights", "capture"]
    assert net.memory == {"weights": 512, "arena": 2048, "workspace": 0, "pinned": 352}


def test_threads_on_one_context_and_on_their_own(net: Any) -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            runner = net.context() if seed % 2 else net
            for i in range(200):
                a, b = batch(1 + i % 4, seed=1000 * seed + i)
                check(runner.run(a, b), a, b)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_memory_is_given_back_and_a_context_keeps_its_network(fakenet: ModuleType) -> None:
    used = fakenet.fake.fake_used()
    context = fakenet.Network(plan_cache="").context()
    a, b = batch(2)
    check(context.run(a, b), a, b)
    del context
    assert fakenet.fake.fake_used() == used


A, B = batch(2)
READ_ONLY = np.zeros((2, 3), np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        ((A,), {}, TypeError, "'b' is missing"),
        ((A, B, A), {}, TypeError, "3 arrays are too many"),
        ((A, B), {"c": A}, TypeError, "there is no 'c'"),
        ((A, B), {"b": B}, TypeError, "'b' is given twice"),
        ((A.astype(np.float64), B), {}, TypeError, "input 'a': got float64, expected float32"),
        ((A[:, :2], B), {}, ValueError, r"input 'a': got shape \(2, 2\), expected \(N, 3\)"),
        (
            (A, B.transpose(0, 3, 1, 2)),
            {},
            ValueError,
            r"input 'b': is not contiguous .* \(N, 2, 2, 2\) \(NHWC\)",
        ),
        (
            (np.zeros((5, 3), np.float32), np.zeros((5, 2, 2, 2), np.float32)),
            {},
            ValueError,
            "batch sizes 1, 4",
        ),
        ((A[:0], B[:0]), {}, ValueError, "a batch of 0"),
        ((A[:1], B), {}, ValueError, "input 'b' has 2 items, input 'a' has 1"),
        (("x", B), {}, TypeError, "input 'a': got str"),
        ((A, B), {"out": A}, ValueError, "got 1 arrays, expected 2: scaled, plus"),
        ((A, B), {"out": (np.empty_like(A), B[:1])}, ValueError, "room for 1 items, the inputs have 2"),
        ((A, B), {"out": (READ_ONLY, B)}, ValueError, "output 'scaled' is read only"),
    ],
)
def test_wrong_arguments(net: Any, args: Any, kwargs: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        net(*args, **kwargs)


@pytest.mark.parametrize(
    ("payload", "metadata", "message"),
    [
        (PAYLOAD, {"layout": "00000000000000bb"}, "another build of the network"),
        (PAYLOAD[:400], {}, "truncated or altered: it holds 400 bytes of weights, expected 512"),
        (PAYLOAD[:100] + b"\1" + PAYLOAD[101:], {}, "altered: its checksum is"),
        (PAYLOAD, {"format": "other"}, "was not packed by cnngen"),
    ],
)
def test_wrong_weights(
    fakenet: ModuleType, tmp_path: Path, payload: bytes, metadata: dict[str, str], message: str
) -> None:
    path = write_weights(tmp_path / "w.safetensors", payload, **metadata)
    with pytest.raises(fakenet.Error, match=message):
        fakenet.Network(weights=str(path))


@pytest.mark.parametrize(
    ("content", "message"), [(None, "No such file"), (b"123", "truncated"), (b"x" * 12, "no safeten")]
)
def test_no_weights(fakenet: ModuleType, tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(fakenet.Error, match=message):
        fakenet.Network(weights=str(path))


@pytest.mark.parametrize(
    ("what", "value", "usual", "message"),
    [
        ("driver", 0, 13000, "no NVIDIA driver was found"),
        ("driver", 12080, 13000, "the NVIDIA driver is for CUDA 12.8, older than CUDA 13"),
        ("devices", 0, 1, "no NVIDIA GPU was found"),
        ("image", 0, 1, "built for the architectures 80, 90, but Fake GPU is of 90"),
        ("memory", 100, 1 << 33, "not enough GPU memory for the weights: 512 B needed"),
    ],
)
def test_unfit_machines(fakenet: ModuleType, what: str, value: int, usual: int, message: str) -> None:
    fakenet.fake.fake_set(what.encode(), ctypes.c_long(value))
    try:
        with pytest.raises(fakenet.Error, match=message):
            fakenet.Network()
    finally:
        fakenet.fake.fake_set(what.encode(), ctypes.c_long(usual))
    with pytest.raises(ValueError, match="there is no GPU 3"):
        fakenet.Network(3)


def test_checksum_is_zlibs(tmp_path: Path) -> None:
    source = HERE / "checksum.cpp"
    run("g++", "-std=c++20", "-O1", f"-I{INCLUDE}", source, "-o", tmp_path / "crc")
    printed = subprocess.run(
        [tmp_path / "crc"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    data = bytes((n * 37 + n // 7) % 256 for n in range(300))
    assert printed == [f"{zlib.crc32(data[:n]):08x} {zlib.crc32(data[:n]):08x}" for n in range(300)]


def test_what_is_put_in_order_begins_when_all_before_it_has_ended(tmp_path: Path) -> None:
    program = tmp_path / "early_start"
    compile_fake(program, HERE / "early_start.cpp")
    # Two of a library, two of ours, two in order, two, two in order, one of ours: each to the next.
    ours, in_order, others = ["early"] * 3, ["after", "early"], ["early", "early"]
    assert run(program).split() == [*ours, *in_order, *others, *in_order, "early"]


def test_a_branch_on_a_stream_of_its_own_comes_after_what_it_waits_for(tmp_path: Path) -> None:
    program = tmp_path / "streams"
    compile_fake(program, HERE / "streams.cpp")
    *edges, order, without, with_libraries = run(program).split()
    # ~: may begin early. What waits for another stream begins when all before it has ended.
    assert sorted(edges) == ["a~b", "b-p", "b~c", "c~d", "d-e", "e~f", "p~q", "q-e"]
    assert order == "abcdpqef"  # of what may run the fake runs the last
    assert (without, with_libraries) == ("0", "1")  # handles of cuDNN


def test_kept_plans_are_made_by_few_threads_and_each_runs_once(tmp_path: Path) -> None:
    program = tmp_path / "planner"
    compile_fake(program, HERE / "planner.cpp")
    *said, no_room = run(program, tmp_path).splitlines()
    unplanned = "'conv' (convolution to 1x8x4x4 float16): no cuDNN plan: 0 engine configurations were offered"
    by_cudnn = "cudnn 39 3 by 1; cudnn 4 2 by 1; cudnn 41 2=0 6 by 1"
    assert said == [
        f"12 plans, 0 built; {by_cudnn}; cudnn 48 1 by 1; few: 1; cuBLASLt: 0",
        f"13 plans, 0 built; cublaslt 1 by 1; {by_cudnn}; cudnn 48 1 by 1; few: 1; cuBLASLt: 1",
        "this GPU cannot run these layers:",
        f"  layer {unplanned}; cublaslt 1 by 1; {by_cudnn}; few: 1; cuBLASLt: 1",
    ]
    assert no_room == "13 plans, 0 built; few: 1; cuBLASLt: 1"


def test_workers_do_what_is_added_in_order_and_drop_what_none_has_begun(tmp_path: Path) -> None:
    program = tmp_path / "workers"
    run("g++", "-std=c++20", "-O1", f"-I{INCLUDE}", HERE / "workers.cpp", "-o", program, "-pthread")
    assert run(program).split() == ["0", "1", "2", "3", "1000", "0", "1"]


def test_weights_are_read_in_parts_and_checked_as_one(tmp_path: Path) -> None:
    program = tmp_path / "parts"
    run("g++", "-std=c++20", "-O1", f"-I{INCLUDE}", HERE / "weight_parts.cpp", "-o", program, "-pthread")
    data = random.Random(0).randbytes(12_345)  # noqa: S311
    checksum = f"{zlib.crc32(data):08x}"
    path = write_weights(tmp_path / "w.safetensors", data, crc32=checksum)
    assert run(program, path, str(len(data)), "-1").strip() == checksum
    for part in ("0", "5", "12"):
        assert "is altered: its checksum is" in run(program, path, str(len(data)), part)
    write_weights(path, data[:-1] + bytes([data[-1] ^ 1]), crc32=checksum)
    assert "is altered: its checksum is" in run(program, path, str(len(data)), "-1")
