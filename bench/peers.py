"""What runs a network: cnngen and those it is compared with, each a class with the same three steps.

`missing` says why it cannot run here. `build` makes what is made once and kept; `start` gives a callable that enqueues
one pass on one of the input sets, on the stream, and returns the outputs, which are on the GPU as soon as that is done.
Each lives in a process of its own (worker.py), so that none meets another's libraries, memory or crash.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from cases import Case, is_torch_module, module_of

if TYPE_CHECKING:
    import torch

Pass = Callable[[int], "list[torch.Tensor]"]


class Peer:
    """One way to run a case. `sets`: inputs on the GPU, float16, images channels-last."""

    title: str

    def __init__(self, case: Case, sets: list[list[torch.Tensor]], stream: torch.cuda.Stream) -> None:
        self.case = case
        self.sets = sets
        self.stream = stream

    @classmethod
    def missing(cls, case: Case) -> str:
        """Why it cannot run this case here; empty: it can."""
        del case
        return ""

    def build(self) -> bool:
        """Makes what is kept; whether it was there already."""
        return False

    def start(self) -> Pass:
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """What else is to be told, once it has started."""
        return {}


class Cnngen(Peer):
    """The project of the case's spec, on its captured graph."""

    title = "cnngen"

    def build(self) -> bool:
        import cnngen

        return cnngen.build(self.case.spec, self.case.folder / "generated", target="cuda").cached

    def start(self) -> Pass:
        import cnngen
        from cnngen.spec import load_spec

        spec = load_spec(self.case.spec)
        network = cnngen.load(self.case.folder / "generated" / spec.name).Network()
        self.context = context = network.context()
        ports = list(spec.inputs.values())
        sets = [[in_memory_order(x, port) for x, port in zip(xs, ports, strict=True)] for xs in self.sets]
        on = self.stream.cuda_stream
        made = context.run_async(*sets[0], stream=on)
        outputs = list(made) if isinstance(made, tuple) else [made]

        def run(k: int) -> list[torch.Tensor]:
            context.run_async(*sets[k], out=outputs, stream=on)
            return outputs

        return run

    def facts(self) -> dict[str, Any]:
        memory = self.context.memory
        return {"planned_mb": sum(memory[part] for part in ("weights", "arena", "workspace")) / 1e6}


def in_memory_order(x: torch.Tensor, port: Any) -> torch.Tensor:
    """The tensor as the port's array: [N, H, W, C] for an NHWC port whose logical shape the tensor has."""
    if port.layout == "NHWC" and tuple(x.shape[1:]) == tuple(port.shape[1:]):
        x = x.permute(0, 2, 3, 1)
    return x.contiguous()


class Eager(Peer):
    """PyTorch, its engines chosen by its own benchmark, each set's pass captured as a CUDA graph."""

    title = "PyTorch eager, CUDA graph"

    @classmethod
    def missing(cls, case: Case) -> str:
        if is_torch_module(case) or importlib.util.find_spec("onnx2torch"):
            return ""
        return "the network is no torch module, and onnx2torch, which makes one of its file, is not installed"

    def run_module(self) -> Callable[..., Any]:
        import torch

        torch.backends.cudnn.benchmark = True
        module = module_of(self.case)
        return module.eval().cuda().half().to(memory_format=torch.channels_last)

    def start(self) -> Pass:
        self.module = self.run_module()  # the graphs read its weights
        return captured([lambda xs=xs: as_list(self.module(*xs)) for xs in self.sets])


class Compile(Eager):
    """torch.compile with autotuned kernels and frozen weights.

    Its own CUDA graphs would copy the inputs first; it is captured like the others, which spares it that.
    """

    title = "torch.compile max-autotune"
    conv_backends = "ATEN,TRITON"

    def build(self) -> bool:
        import torch
        import torch._inductor.config as inductor

        was_there = any(Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).rglob("*.py"))
        inductor.freezing = True
        inductor.max_autotune_conv_backends = self.conv_backends
        module = self.run_module()
        self.compiled = torch.compile(module, mode="max-autotune-no-cudagraphs")
        self.compiled(*self.sets[0])
        torch.cuda.synchronize()
        return was_there

    def start(self) -> Pass:
        return captured([lambda xs=xs: as_list(self.compiled(*xs)) for xs in self.sets])


class CompileLibrary(Compile):
    """torch.compile that leaves convolutions to cuDNN, and so neither compiles nor times kernels of its own for each.

    For networks of many different ones, with which the other is not ready in time.
    """

    title = "torch.compile max-autotune, cuDNN's convolutions"
    conv_backends = "ATEN"


class OnnxRuntime(Peer):
    """ONNX Runtime's CUDA provider on the float16 file; its CUDA graph where it can capture the whole network."""

    title = "ONNX Runtime CUDA"

    @classmethod
    def missing(cls, case: Case) -> str:
        del case
        try:
            import onnxruntime
        except ImportError:
            return "onnxruntime is not installed"
        there = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        return "" if there else "the installed onnxruntime has no CUDA provider (onnxruntime-gpu has)"

    def start(self) -> Pass:
        from onnxruntime.capi import onnxruntime_pybind11_state as errors

        try:
            self.has_graph = True
            return self.session(graph=True)
        except (errors.Fail, errors.NotImplemented, errors.RuntimeException, errors.EPFail):
            self.has_graph = False  # some node is the CPU's
            return self.session(graph=False)

    def session(self, *, graph: bool) -> Pass:
        import onnxruntime as ort
        import torch

        options = {
            "user_compute_stream": str(self.stream.cuda_stream),
            "enable_cuda_graph": str(int(graph)),
            "cudnn_conv_algo_search": "EXHAUSTIVE",
            "prefer_nhwc": "1",
        }
        session = ort.InferenceSession(str(self.case.float16), providers=[("CUDAExecutionProvider", options)])
        outputs = like_reference(self.case)
        runs = []
        for k, xs in enumerate(self.sets):
            binding = session.io_binding()
            bind = [(binding.bind_input, session.get_inputs(), [x.contiguous() for x in xs])]
            bind += [(binding.bind_output, session.get_outputs(), outputs)]
            for to, ports, tensors in bind:
                for port, tensor in zip(ports, tensors, strict=True):
                    kind = np.dtype(str(tensor.dtype).removeprefix("torch.")).type
                    to(port.name, "cuda", 0, kind, tuple(tensor.shape), tensor.data_ptr())
            how = ort.RunOptions()
            how.add_run_config_entry("gpu_graph_id", str(k + 1))
            how.add_run_config_entry("disable_synchronize_execution_providers", "1")
            runs.append((binding, how, bind))  # the tensors live as long as the binding

        def run(k: int) -> list[torch.Tensor]:
            session.run_with_iobinding(runs[k][0], runs[k][1])
            return outputs

        for k in range(len(runs)):
            run(k)
        torch.cuda.synchronize()
        return run

    def facts(self) -> dict[str, Any]:
        return {} if self.has_graph else {"remark": "without a CUDA graph"}


class TensorRT(Peer):
    """TensorRT on the float16 file, strongly typed, at its highest optimisation level, each set's pass captured."""

    title = "TensorRT"

    @classmethod
    def missing(cls, case: Case) -> str:
        del case
        try:
            importlib.import_module("tensorrt")
        except ImportError as error:
            return f"tensorrt cannot be imported: {error}"
        return ""

    def build(self) -> bool:
        import tensorrt as trt

        self.engine_file = self.case.folder / f"tensorrt-{trt.__version__}.engine"
        if self.engine_file.exists():
            return True
        builder = trt.Builder(trt.Logger(trt.Logger.WARNING))
        # From 11 on every network is strongly typed.
        kinds = trt.NetworkDefinitionCreationFlag.__members__
        network = builder.create_network(
            1 << int(kinds["STRONGLY_TYPED"]) if "STRONGLY_TYPED" in kinds else 0
        )
        parser = trt.OnnxParser(network, trt.Logger(trt.Logger.WARNING))
        if not parser.parse_from_file(str(self.case.float16)):
            raise RuntimeError(str(parser.get_error(0)))
        config = builder.create_builder_config()
        config.builder_optimization_level = 5
        made = builder.build_serialized_network(network, config)
        if made is None:
            raise RuntimeError("TensorRT built no engine")
        self.engine_file.write_bytes(bytes(made))
        return False

    def start(self) -> Pass:
        import tensorrt as trt
        import torch

        runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        engine = runtime.deserialize_cuda_engine(self.engine_file.read_bytes())
        context = engine.create_execution_context()
        names = [engine.get_tensor_name(k) for k in range(engine.num_io_tensors)]
        modes = (trt.TensorIOMode.INPUT, trt.TensorIOMode.OUTPUT)
        ports = [name for mode in modes for name in names if engine.get_tensor_mode(name) == mode]
        outputs = like_reference(self.case)
        given = [[x.contiguous() for x in xs] for xs in self.sets]

        def enqueue(k: int) -> list[torch.Tensor]:
            for port, tensor in zip(ports, [*given[k], *outputs], strict=True):
                context.set_tensor_address(port, tensor.data_ptr())
            if not context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
                raise RuntimeError("TensorRT did not run")
            return outputs

        self.alive = (runtime, engine, context, given)
        return captured([lambda k=k: enqueue(k) for k in range(len(given))])


def captured(runs: list[Callable[[], list[torch.Tensor]]]) -> Pass:
    """Each run as a CUDA graph; they share their memory."""
    import torch

    graphs = []
    pool = torch.cuda.graph_pool_handle()
    for run in runs:
        for _ in range(3):
            run()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            outputs = run()
        graphs.append((graph, outputs))

    def replay(k: int) -> list[torch.Tensor]:
        graphs[k][0].replay()
        return graphs[k][1]

    return replay


def as_list(results: Any) -> list[torch.Tensor]:
    return list(results) if isinstance(results, tuple | list) else [results]


def like_reference(case: Case) -> list[torch.Tensor]:
    """Memory for the outputs: float16 where the reference is float32."""
    import torch

    stored = np.load(case.reference)
    arrays = [torch.from_numpy(stored[str(k)]) for k in range(len(stored.files))]
    kinds = [torch.half if array.is_floating_point() else array.dtype for array in arrays]
    return [
        torch.empty(array.shape, dtype=kind, device="cuda") for array, kind in zip(arrays, kinds, strict=True)
    ]


PEERS: dict[str, type[Peer]] = {
    "cnngen": Cnngen,
    "eager": Eager,
    "compile": Compile,
    "compile_cudnn": CompileLibrary,
    "ort": OnnxRuntime,
    "trt": TensorRT,
}
# What is compared with where nobody says; the others take time, and tell little beside these.
USUAL = tuple(name for name in PEERS if name != "compile_cudnn")
