"""What a reader of `network.cu` sees: one function a step, the buffers and weights it names, a straight forward."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cnngen.codegen.emit import cpu_kernels, cuda_kernels
from cnngen.codegen.emit.cpp import float_text, quoted
from cnngen.codegen.emit.kernels import Grid, Kernel, Launch, aggregate
from cnngen.codegen.emit.operands import Operands, dtype_text, rows_text
from cnngen.codegen.emit.plan_names import NumberedPlans, PlanNames
from cnngen.codegen.emit.titles import layer_names, plan_key
from cnngen.codegen.emit.views import (
    BufferView,
    ForwardView,
    KernelFileView,
    KernelView,
    LaunchView,
    NetworkView,
    SlotView,
    StepView,
    Variant,
    WeightView,
)
from cnngen.codegen.emit.words import comment
from cnngen.codegen.epilogues import ChainStep, library_chain
from cnngen.codegen.graph import LIBRARIES, Graph, Node, unused
from cnngen.codegen.node_ops import BatchMatMul, Conv, MatMul
from cnngen.codegen.plan import BatchPlan, Plan
from cnngen.codegen.titles import titles_of
from cnngen.spec.names import CppIdentifier, identifiers

# What the generated file itself calls names.
RESERVED = (
    "at",
    "weights",
    "kernels",
    "forward",
    "model",
    "pass",
    "y",
    "Pass",
    "Tensor",
    "DType",
    "Offsets",
    "nhwc",
    "nchw",
    "rows",
    "filter",
    "vector",
    "Network",
    "Context",
    "Weight",
    "after",
)


# How much one compiler run takes: kernels, those on tensor cores counting as several.
FILE_WEIGHT, GEMM_WEIGHT = 24, 4


def network_view(
    plan: Plan, names: PlanNames | NumberedPlans | None = None, most_files: int | None = None
) -> NetworkView:
    """All names and texts of `network.cu` and `kernels.cu`.

    `names`: what its plans are called; `most_files`: how many files of kernels there may be, by default any number.
    """
    return _View(plan, names or PlanNames(plan.spec), most_files).network()


class _View:
    def __init__(self, plan: Plan, names: PlanNames | NumberedPlans, most_files: int | None) -> None:
        self.plan = plan
        self.names = names
        self.most_files = most_files
        self.largest = max(batch.batch for batch in plan.batches)
        self.titles = {plan_key(batch): titles_of(batch.graph) for batch in plan.batches}
        titles = dict.fromkeys(
            title for batch in plan.batches for title in self.titles[plan_key(batch)].values()
        )
        self.identifiers = identifiers(titles, (*RESERVED, *(f"slot{i}" for i in range(len(titles)))))
        self.weight_names = identifiers([tensor.name for tensor in plan.weights.tensors], RESERVED)
        self.kernels: dict[Kernel, KernelView] = {}
        self.operands = Operands(plan.target.elements, self.titles, self.identifiers, self.weight_names)

    def network(self) -> NetworkView:
        found: dict[str, list[tuple[BatchPlan, Node]]] = {}
        forwards: list[tuple[str, ...]] = []
        for batch in self.plan.batches:
            titles = [self.titles[plan_key(batch)][node.name] for node in batch.steps]
            for node, title in zip(batch.steps, titles, strict=True):
                found.setdefault(title, []).append((batch, node))
            forwards.append(_statements(batch, [self.identifiers[title] for title in titles]))
        steps = [
            StepView(
                self.identifiers[title], comment(forms[0][0].graph, forms[0][1]), self._variants(title, forms)
            )
            for title, forms in found.items()
        ]
        return NetworkView(
            self.names.every,
            self.names.selector,
            tuple(steps),
            *self._buffers(),
            self._weights(),
            tuple(self.kernels.values()),
            self._files(),
            self._forwards(forwards),
            tuple(sorted({header for kernel in self.kernels for header in kernel.declares})),
            max((kernel.capability for kernel in self.kernels), default=0),
        )

    def _forwards(self, forwards: Sequence[tuple[str, ...]]) -> tuple[ForwardView, ...]:
        groups: dict[tuple[str, ...], list[BatchPlan]] = {}
        for batch, statements in zip(self.plan.batches, forwards, strict=True):
            groups.setdefault(statements, []).append(batch)
        return tuple(
            ForwardView(
                "forward" if len(groups) == 1 else f"forward_{self.names.suffix(served[0])}",
                tuple(map(self.names.case, served)),
                statements,
            )
            for statements, served in groups.items()
        )

    def _files(self) -> tuple[KernelFileView, ...]:
        """The kernels in files of about `FILE_WEIGHT`; a CPU's are one."""

        def heaviness(view: KernelView) -> int:
            return GEMM_WEIGHT if any(name.endswith("_gemm.cuh") for name in view.kernel.headers) else 1

        files: list[list[KernelView]] = [[]]
        weight, limit = 0, FILE_WEIGHT
        if self.most_files:
            limit = max(limit, -(-sum(map(heaviness, self.kernels.values())) // self.most_files))
        for view in self.kernels.values():
            heavy = heaviness(view)
            if weight + heavy > limit and files[-1] and self.plan.target.name == "cuda":
                files.append([])
                weight = 0
            files[-1].append(view)
            weight += heavy
        return tuple(
            KernelFileView(
                f"kernels{number + 1 if number else ''}",
                tuple(members),
                tuple(sorted({header for view in members for header in view.kernel.headers})),
                number == 0,
            )
            for number, members in enumerate(files)
        )

    def _buffers(self) -> tuple[tuple[SlotView, ...], tuple[BufferView, ...]]:
        columns = [
            {title: batch.arena.offsets[name] for name, title in self.titles[plan_key(batch)].items()}
            for batch in self.plan.batches
        ]
        places = {title: tuple(column.get(title, 0) for column in columns) for title in self.operands.used}
        slots = {
            offsets: SlotView(f"slot{i}", offsets) for i, offsets in enumerate(sorted(set(places.values())))
        }
        buffers = [
            BufferView(self.identifiers[title], slots[offsets].name) for title, offsets in places.items()
        ]
        return tuple(slots.values()), tuple(buffers)

    def _weights(self) -> tuple[WeightView, ...]:
        tensors = self.plan.weights.tensors
        names = [self.weight_names[tensor.name] for tensor in tensors]
        return tuple(
            WeightView(name, before, tensor.bytes, f"{list(tensor.shape)} {tensor.dtype}")
            for name, before, tensor in zip(names, [None, *names], tensors, strict=False)
        )

    # --- one step ------------------------------------------------------------------------------------------------

    def _variants(self, title: str, forms: Sequence[tuple[BatchPlan, Node]]) -> tuple[Variant, ...]:
        """The step's statements: one text for all plans where only its launch differs, else one for each form."""
        every = tuple(self.names.case(batch) for batch, _ in forms)
        launches = [self._launch(batch, node, title) for batch, node in forms if node.form not in LIBRARIES]
        same = len(launches) == len(self.plan.batches) and len({launch.shared for launch in launches}) == 1
        if same and len({launch.launch.grid is None for launch in launches}) == 1:
            return (Variant(every, (_launch_text(launches),)),)
        if (
            len(forms) == len(self.plan.batches)
            and len({node.engine for _, node in forms}) > 1
            and not launches
        ):
            engine = f"pass.each({', '.join(quoted(node.engine) for _, node in forms)})"
            texts = {self._lines(batch, node, title, engine) for batch, node in forms}
            if len(texts) == 1:
                return (Variant(every, texts.pop()),)
        found: dict[tuple[str, ...], list[str]] = {}
        for batch, node in forms:
            lines = self._lines(batch, node, title, quoted(node.engine))
            found.setdefault(lines, []).append(self.names.case(batch))
        return tuple(Variant(tuple(cases), lines) for lines, cases in found.items())

    def _lines(self, batch: BatchPlan, node: Node, title: str, engine: str) -> tuple[str, ...]:
        """The step's statements; `engine`: the text of what its library is to run it by."""
        match node.op, node.form:
            case (Conv() as op, form) if form in LIBRARIES:
                return self._convolution(batch, node, op, engine)
            case (MatMul() as op, form) if form in LIBRARIES:
                return self._matmul(batch, node, op, engine)
            case (BatchMatMul() as op, _):
                return self._batch_matmul(batch, node, op, engine)
        return (_launch_text([self._launch(batch, node, title)]),)

    def _launch(self, batch: BatchPlan, node: Node, title: str) -> LaunchView:
        launch = self._kernel(batch, node)
        if launch is None:
            raise TypeError(f"no kernel for {node.name!r}: {type(node.op).__name__} {node.form}")
        known = self.kernels.get(launch.kernel)
        if known is None:
            names = [view.name for view in self.kernels.values()]
            name = self.identifiers[title]
            if launch.name:
                taken = [*names, *self.identifiers.values()]
                (name,) = identifiers([unused(launch.name, taken)], taken).values()
            elif name in names:
                free = [s for s in self.names.suffixes(batch) if f"{name}_{s}" not in names]
                suffix = free[0] if free else self.names.suffix(batch)
                (name,) = identifiers([f"{name} {suffix}"], names).values()
            known = KernelView(name, launch.comment or comment(batch.graph, node), launch.kernel)
            self.kernels[launch.kernel] = known
        # Not always the batch: a reshape may have merged it with another axis.
        arguments = [
            rows_text(node.value.shape[0], batch.batch),
            *launch.arguments,
            *(self.operands.pointer(batch, name) for name in dict.fromkeys(node.inputs)),
            self.operands.pointer(batch, node.name),
        ]
        shared = (_layers(batch.graph, node), self.operands.tensor(batch, node.name, real=True), *arguments)
        return LaunchView(known.name, launch, shared)

    def _kernel(self, batch: BatchPlan, node: Node) -> Launch | None:
        if self.plan.target.name == "cpu":
            return cpu_kernels.kernel_of(node, batch.graph, self.largest)
        return cuda_kernels.kernel_of(node, batch.graph, self.largest, batch.batch)

    def _convolution(self, batch: BatchPlan, node: Node, op: Conv, engine: str) -> tuple[str, ...]:
        graph = batch.graph
        fields = {
            "layers": _layers(batch.graph, node),
            "x": self.operands.tensor(batch, node.inputs[0]),
            "w": self.operands.filter(batch, node.inputs[1]),
            "y": self.operands.tensor(batch, node.name),
        }
        optional = {
            "stride": (op.stride, (1, 1)),
            "padding": (op.padding, (0, 0, 0, 0)),
            "dilation": (op.dilation, (1, 1)),
        }
        fields |= {name: _braces(value) for name, (value, default) in optional.items() if value != default}
        if op.groups != 1:
            fields["groups"] = str(op.groups)
        tf32 = op.tf32 and graph.values[node.name].dtype
        return self._library_call("convolution", batch, node, fields, tf32, engine)

    def _matmul(self, batch: BatchPlan, node: Node, op: MatMul, engine: str) -> tuple[str, ...]:
        x, w, y = (batch.graph.values[name] for name in (*node.operands, node.name))
        fields = {
            "layers": _layers(batch.graph, node),
            "x": self.operands.rows(batch, node.inputs[0], x.shape),
            "w": f"rows(pass.weight(weights::{self.operands.weight(batch, node.inputs[1])}), {dtype_text(w)}, "
            f"{w.shape[0]}, {w.shape[1]})",
            "y": self.operands.rows(batch, node.name, y.shape),
        }
        return self._library_call("matmul", batch, node, fields, op.tf32 and y.dtype, engine)

    def _batch_matmul(self, batch: BatchPlan, node: Node, op: BatchMatMul, engine: str) -> tuple[str, ...]:
        fields = {"layers": _layers(batch.graph, node)}
        fields |= {
            field: self.operands.matrices(batch, name)
            for field, name in zip("xwy", (*node.operands, node.name), strict=True)
        }
        return self._library_call("batch_matmul", batch, node, fields, op.tf32 and node.value.dtype, engine)

    def _library_call(
        self, function: str, batch: BatchPlan, node: Node, fields: dict[str, str], tf32: object, engine: str
    ) -> tuple[str, ...]:
        chain = library_chain(node, batch.graph)
        if chain is None:
            raise TypeError(f"{node.name!r} has an epilogue that {node.form} cannot do")
        if chain:
            fields["epilogue"] = "{" + ", ".join(self._chain_step(batch, node, step) for step in chain) + "}"
        if tf32 == "float32":
            fields["tf32"] = "true"
        if engine != '""':
            fields["engine"] = engine
        return (f"pass.{function}({{", *(f".{name} = {text}," for name, text in fields.items()), "});")

    def _chain_step(self, batch: BatchPlan, node: Node, step: ChainStep) -> str:
        if step.operand is None:
            return f"cnngen::{step.function}({', '.join(map(float_text, step.numbers))})"
        value = batch.graph.values[step.operand]
        if step.operand not in batch.graph.constants:
            match node.op:  # the operand is said as the result is
                case MatMul():
                    tensor = self.operands.rows(batch, step.operand, value.shape)
                case BatchMatMul():
                    tensor = self.operands.matrices(batch, step.operand)
                case _:
                    tensor = self.operands.tensor(batch, step.operand)
            return f"cnngen::{step.function}({tensor})"
        name = {"add": "bias", "mul": "scale"}[step.function]
        pointer = f"pass.weight(weights::{self.operands.weight(batch, step.operand)})"
        return f"cnngen::{name}(vector({pointer}, {dtype_text(value)}, {value.shape[0]}))"


def _statements(batch: BatchPlan, functions: Sequence[CppIdentifier]) -> tuple[str, ...]:
    """The calls of the steps' functions in order, and between them what goes on which stream, after which others."""
    streams, current = batch.streams, 0
    found = []

    def turn(stream: int, waits: Sequence[int]) -> None:
        after = f", {_braces(waits)}" if waits else ""
        found.append(f"pass.on({stream}{after});")

    for node, function in zip(batch.steps, functions, strict=True):
        stream, waits = streams.of.get(node.name, 0), streams.waits.get(node.name, ())
        if waits or stream != current:
            turn(stream, waits)
            current = stream
        found.append(f"{function}(pass);")
    if current or streams.end:
        turn(0, streams.end)
    return tuple(found)


def _layers(graph: Graph, node: Node) -> str:
    return "{" + ", ".join(map(quoted, layer_names(graph, node))) + "}"


def _launch_text(launches: Sequence[LaunchView]) -> str:
    """`pass.launch(layers, y, kernel, blocks, threads, arguments...)`, with `pass.each` where plans differ.

    On a CPU there are no blocks and threads.
    """

    def each(values: Sequence[object]) -> str:
        texts = list(map(str, values))
        return texts[0] if len(set(texts)) == 1 else f"pass.each({', '.join(texts)})"

    first = launches[0]
    if first.launch.grid is not None:
        return _grid_launch_text(launches, each)
    kernel = each([f"kernels::{view.kernel}" for view in launches])
    layers, y, images, *arguments = first.shared
    if not first.launch.kernel.threads:
        return f"pass.launch({', '.join([layers, y, kernel, images, *arguments])});"
    items = each([view.launch.items for view in launches])
    threads = each([view.launch.kernel.threads for view in launches])
    total = images if items == "1" else f"{images} * {items}"
    blocks = total if first.launch.whole_blocks else f"cnngen::blocks({total}, {threads})"
    return f"pass.launch({', '.join([layers, y, kernel, blocks, threads, images, *arguments])});"


def _grid_launch_text(launches: Sequence[LaunchView], each: Callable[[Sequence[object]], str]) -> str:
    """The same with a grid in numbers: `pass.launch(layers, y, kernel, cnngen::Grid{...}, arguments...)`."""
    layers, y, *arguments = launches[0].shared
    kernel = each([f"kernels::{view.kernel}" for view in launches])
    grid = each([_grid_text(view.launch) for view in launches])
    return f"pass.launch({', '.join([layers, y, kernel, grid, *arguments])});"


def _grid_text(launch: Launch) -> str:
    grid = launch.grid or Grid(0, 1, 0)
    fields = {"blocks": grid.blocks, "threads": launch.kernel.threads}
    fields |= {"cluster": grid.cluster} if grid.cluster > 1 else {}
    return f"cnngen::Grid{aggregate(fields | {'shared': grid.shared})}"


def _braces(numbers: Sequence[int]) -> str:
    return "{" + ", ".join(map(str, numbers)) + "}"
