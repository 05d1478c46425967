"""What a reader of `network.cu` sees: one function a step, the buffers and weights it names, a straight forward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cnngen.codegen.emit import cpu_kernels, cuda_kernels
from cnngen.codegen.emit.cpp import float_text, quoted
from cnngen.codegen.emit.kernels import Kernel, Launch
from cnngen.codegen.emit.plan_names import PlanNames
from cnngen.codegen.emit.views import (
    BufferView,
    ForwardView,
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
from cnngen.codegen.graph import (
    LIBRARIES,
    BatchMatMul,
    Conv,
    Graph,
    MatMul,
    Node,
    Pointwise,
    Value,
    unused,
)
from cnngen.codegen.lower import OUTPUT
from cnngen.codegen.passes.assign_buffers import is_view
from cnngen.codegen.plan import BatchPlan, Plan
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


def network_view(plan: Plan) -> NetworkView:
    """All names and texts of `network.cu` and `kernels.cu`."""
    return _View(plan).network()


class _View:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.largest = max(batch.batch for batch in plan.batches)
        self.names = PlanNames(plan.spec)
        self.titles = {_key(batch): _titles(batch.graph) for batch in plan.batches}
        titles = dict.fromkeys(title for batch in plan.batches for title in self.titles[_key(batch)].values())
        self.identifiers = identifiers(titles, (*RESERVED, *(f"slot{i}" for i in range(len(titles)))))
        self.weight_names = identifiers([tensor.name for tensor in plan.weights.tensors], RESERVED)
        self.kernels: dict[Kernel, KernelView] = {}
        self.used: dict[str, None] = {}  # the buffers that a step names, by title

    def network(self) -> NetworkView:
        found: dict[str, list[tuple[BatchPlan, Node]]] = {}
        orders: list[tuple[CppIdentifier, ...]] = []
        for batch in self.plan.batches:
            titles = [self.titles[_key(batch)][node.name] for node in batch.steps]
            for node, title in zip(batch.steps, titles, strict=True):
                found.setdefault(title, []).append((batch, node))
            orders.append(tuple(self.identifiers[title] for title in titles))
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
            self._forwards(orders),
            self._headers(),
        )

    def _forwards(self, orders: Sequence[tuple[CppIdentifier, ...]]) -> tuple[ForwardView, ...]:
        groups: dict[tuple[CppIdentifier, ...], list[BatchPlan]] = {}
        for batch, order in zip(self.plan.batches, orders, strict=True):
            groups.setdefault(order, []).append(batch)
        return tuple(
            ForwardView(
                "forward" if len(groups) == 1 else f"forward_{self.names.suffix(served[0])}",
                tuple(map(self.names.case, served)),
                order,
            )
            for order, served in groups.items()
        )

    def _headers(self) -> tuple[str, ...]:
        return tuple(sorted({header for kernel in self.kernels for header in kernel.headers}))

    def _buffers(self) -> tuple[tuple[SlotView, ...], tuple[BufferView, ...]]:
        columns = [
            {title: batch.arena.offsets[name] for name, title in self.titles[_key(batch)].items()}
            for batch in self.plan.batches
        ]
        places = {title: tuple(column.get(title, 0) for column in columns) for title in self.used}
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
        if same:
            return (Variant(every, (_launch_text(launches),)),)
        found: dict[tuple[str, ...], list[str]] = {}
        for batch, node in forms:
            found.setdefault(self._lines(batch, node, title), []).append(self.names.case(batch))
        return tuple(Variant(tuple(cases), lines) for lines, cases in found.items())

    def _lines(self, batch: BatchPlan, node: Node, title: str) -> tuple[str, ...]:
        match node.op, node.form:
            case (Conv() as op, form) if form in LIBRARIES:
                return self._convolution(batch, node, op)
            case (MatMul() as op, _):
                return self._matmul(batch, node, op)
            case (BatchMatMul() as op, _):
                return self._batch_matmul(batch, node, op)
        return (_launch_text([self._launch(batch, node, title)]),)

    def _launch(self, batch: BatchPlan, node: Node, title: str) -> LaunchView:
        launch = self._kernel(batch, node)
        if launch is None:
            raise TypeError(f"no kernel for {node.name!r}: {type(node.op).__name__} {node.form}")
        known = self.kernels.get(launch.kernel)
        if known is None:
            names = [view.name for view in self.kernels.values()]
            name = self.identifiers[title]
            if name in names:
                free = [s for s in self.names.suffixes(batch) if f"{name}_{s}" not in names]
                suffix = free[0] if free else self.names.suffix(batch)
                (name,) = identifiers([f"{name} {suffix}"], names).values()
            known = KernelView(name, comment(batch.graph, node), launch.kernel)
            self.kernels[launch.kernel] = known
        # Not always the batch: a reshape may have merged it with another axis.
        arguments = [
            _rows_text(node.value.shape[0], batch.batch),
            *(self._pointer(batch, name) for name in dict.fromkeys(node.inputs)),
            self._pointer(batch, node.name),
        ]
        shared = (_layers(batch.graph, node), self._tensor(batch, node.name, real=True), *arguments)
        return LaunchView(known.name, launch, shared)

    def _kernel(self, batch: BatchPlan, node: Node) -> Launch | None:
        if self.plan.target.name == "cpu":
            return cpu_kernels.kernel_of(node, batch.graph, self.largest)
        return cuda_kernels.kernel_of(node, batch.graph, self.largest, batch.batch)

    def _convolution(self, batch: BatchPlan, node: Node, op: Conv) -> tuple[str, ...]:
        graph = batch.graph
        fields = {
            "layers": _layers(batch.graph, node),
            "x": self._tensor(batch, node.inputs[0]),
            "w": self._filter(batch, node.inputs[1]),
            "y": self._tensor(batch, node.name),
        }
        optional = {
            "stride": (op.stride, (1, 1)),
            "padding": (op.padding, (0, 0, 0, 0)),
            "dilation": (op.dilation, (1, 1)),
        }
        fields |= {name: _braces(value) for name, (value, default) in optional.items() if value != default}
        if op.groups != 1:
            fields["groups"] = str(op.groups)
        return self._library_call(
            "convolution", batch, node, fields, op.tf32 and graph.values[node.name].dtype
        )

    def _matmul(self, batch: BatchPlan, node: Node, op: MatMul) -> tuple[str, ...]:
        x, w, y = (batch.graph.values[name] for name in (*node.operands, node.name))
        fields = {
            "layers": _layers(batch.graph, node),
            "x": self._rows(batch, node.inputs[0], x.shape),
            "w": f"rows(pass.weight(weights::{self._weight(batch, node.inputs[1])}), {_dtype(w)}, "
            f"{w.shape[0]}, {w.shape[1]})",
            "y": self._rows(batch, node.name, y.shape),
        }
        return self._library_call("matmul", batch, node, fields, op.tf32 and y.dtype)

    def _batch_matmul(self, batch: BatchPlan, node: Node, op: BatchMatMul) -> tuple[str, ...]:
        fields = {"layers": _layers(batch.graph, node)}
        fields |= {
            field: self._matrices(batch, name)
            for field, name in zip("xwy", (*node.operands, node.name), strict=True)
        }
        return self._library_call("batch_matmul", batch, node, fields, op.tf32 and node.value.dtype)

    def _library_call(
        self, function: str, batch: BatchPlan, node: Node, fields: dict[str, str], tf32: object
    ) -> tuple[str, ...]:
        chain = library_chain(node, batch.graph)
        if chain is None:
            raise TypeError(f"{node.name!r} has an epilogue that {node.form} cannot do")
        if chain:
            fields["epilogue"] = "{" + ", ".join(self._chain_step(batch, node, step) for step in chain) + "}"
        if tf32 == "float32":
            fields["tf32"] = "true"
        return (f"pass.{function}({{", *(f".{name} = {text}," for name, text in fields.items()), "});")

    def _chain_step(self, batch: BatchPlan, node: Node, step: ChainStep) -> str:
        if step.operand is None:
            return f"cnngen::{step.function}({', '.join(map(float_text, step.numbers))})"
        value = batch.graph.values[step.operand]
        if step.operand not in batch.graph.constants:
            match node.op:  # the operand is said as the result is
                case MatMul():
                    tensor = self._rows(batch, step.operand, value.shape)
                case BatchMatMul():
                    tensor = self._matrices(batch, step.operand)
                case _:
                    tensor = self._tensor(batch, step.operand)
            return f"cnngen::{step.function}({tensor})"
        name = {"add": "bias", "mul": "scale"}[step.function]
        pointer = f"pass.weight(weights::{self._weight(batch, step.operand)})"
        return f"cnngen::{name}(vector({pointer}, {_dtype(value)}, {value.shape[0]}))"

    # --- operands ------------------------------------------------------------------------------------------------

    def _weight(self, batch: BatchPlan, name: str) -> CppIdentifier:
        return self.weight_names[batch.weights[name].name]

    def _place(self, batch: BatchPlan, name: str) -> str:
        """The buffer of a value by its title; a view's is its input's."""
        producer = batch.graph.producers.get(name)
        while producer is not None and is_view(producer):
            name = producer.inputs[0]
            producer = batch.graph.producers.get(name)
        title = self.titles[_key(batch)][name]
        self.used[title] = None
        return f"at::{self.identifiers[title]}"

    def _pointer(self, batch: BatchPlan, name: str) -> str:
        """A kernel's argument."""
        graph, value = batch.graph, batch.graph.values[name]
        element = self.plan.target.elements[value.dtype]
        inputs = [v.name for v in graph.inputs]
        if name in inputs:
            return f"pass.input<{element}>({inputs.index(name)})"
        if name in graph.outputs:
            return f"pass.output<{element}>({graph.outputs.index(name)})"
        if name in graph.constants:
            return f"pass.weight<{element}>(weights::{self._weight(batch, name)})"
        return f"pass.at<{element}>({self._place(batch, name)})"

    def _address(self, batch: BatchPlan, name: str) -> str:
        graph = batch.graph
        if name in graph.outputs:
            element = self.plan.target.elements[graph.values[name].dtype]
            return f"pass.output<{element}>({graph.outputs.index(name)}).data"
        if name in graph.constants:
            return f"pass.weight(weights::{self._weight(batch, name)})"
        return f"pass.at({self._place(batch, name)})"

    def _tensor(self, batch: BatchPlan, name: str, *, real: bool = False) -> str:
        """The value as a cnngen::Tensor; `real`: without the channels that are only padding."""
        value = batch.graph.values[name]
        images = _rows_text(value.shape[0], batch.batch)
        address = self._address(batch, name)
        if len(value.shape) == 4:
            layout = "nchw" if value.layout == "NCHW" else "nhwc"
            extents = [images, *map(str, value.shape[1:])]
            if real and value.padding:
                extents = [
                    images,
                    str(value.shape[1] - value.padding),
                    *map(str, value.shape[2:]),
                    str(value.shape[1]),
                ]
            return f"{layout}({address}, {_dtype(value)}, {', '.join(extents)})"
        columns = value.elements // value.shape[0]
        return f"rows({address}, {_dtype(value)}, {images}, {columns})"

    def _rows(self, batch: BatchPlan, name: str, shape: Sequence[int]) -> str:
        value = batch.graph.values[name]
        count = value.elements // shape[-1]
        return f"rows({self._address(batch, name)}, {_dtype(value)}, {_rows_text(count, batch.batch)}, {shape[-1]})"

    def _matrices(self, batch: BatchPlan, name: str) -> str:
        value = batch.graph.values[name]
        count = (
            str(value.shape[0]) if name in batch.graph.constants else _rows_text(value.shape[0], batch.batch)
        )
        address = self._address(batch, name)
        return f"cnngen::matrices({address}, {_dtype(value)}, {count}, {value.shape[1]}, {value.shape[2]})"

    def _filter(self, batch: BatchPlan, name: str) -> str:
        value = batch.graph.values[name]
        pointer = f"pass.weight(weights::{self._weight(batch, name)})"
        return f"filter({pointer}, {_dtype(value)}, {', '.join(map(str, value.shape))})"


def _key(batch: BatchPlan) -> tuple[int, int]:
    return batch.profile, batch.batch


def _titles(graph: Graph) -> Mapping[str, str]:
    """A name a value for the generated text: its first layer's where that is unique, else its own."""
    titles = {value.name: value.name for value in graph.inputs}
    seen = set(titles)
    for node in graph.nodes:
        heavy = not isinstance(node.op, Pointwise)
        title = node.layers[0] if heavy or len(node.layers) == 1 else node.name.removesuffix(OUTPUT)
        title = unused(node.name, seen) if title in seen else title
        seen.add(title)
        titles[node.name] = title
    return titles


def layer_names(graph: Graph, node: Node) -> tuple[str, ...]:
    """The layers that a step stands for, last the one whose result it writes, or the name of a part of it."""
    names = {node.name.removesuffix(OUTPUT)}
    for reader in graph.nodes:  # a view of a value is another name for it
        if is_view(reader) and reader.inputs[0] in names:
            names.add(reader.name)
    padded = any(node.name.startswith(f"{layer}.padded") for layer in node.layers)
    whole = padded or bool(names & set(node.layers))
    return node.layers if whole else (*node.layers[:-1], node.name)


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
    kernel = each([f"kernels::{view.kernel}" for view in launches])
    layers, y, images, *arguments = first.shared
    if not first.launch.kernel.threads:
        return f"pass.launch({', '.join([layers, y, kernel, images, *arguments])});"
    items = each([view.launch.items for view in launches])
    threads = each([view.launch.kernel.threads for view in launches])
    total = images if items == "1" else f"{images} * {items}"
    blocks = total if first.launch.whole_blocks else f"cnngen::blocks({total}, {threads})"
    return f"pass.launch({', '.join([layers, y, kernel, blocks, threads, images, *arguments])});"


def _dtype(value: Value) -> str:
    return f"DType::{'boolean' if value.dtype == 'bool' else value.dtype}"


def _rows_text(count: int, batch: int) -> str:
    """A count of rows that grows with the batch."""
    if count % batch:
        return str(count)
    return "pass.batch()" if count == batch else f"pass.batch() * {count // batch}"


def _braces(numbers: Sequence[int]) -> str:
    return "{" + ", ".join(map(str, numbers)) + "}"
