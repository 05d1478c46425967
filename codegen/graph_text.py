"""The graph as text: dumps for people, and what of a step its measurements and the lock go by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import ACC
from cnngen.codegen.graph import Graph, Node, Value
from cnngen.codegen.node_ops import Conv, Join, MatMul, Op, Pointwise, SqueezeExcite


def step_text(node: Node, graph: Graph) -> str:
    """All that a step's time depends on, and nothing else: neither names nor what the data are."""
    values = [graph.values[name] for name in node.inputs]
    types = [
        f"{'constant ' if value.name in graph.constants else ''}{value_text(_anonymous(value))}"
        for value in values
    ]
    numbered = [f"x{number}" for number in range(len(values))]
    result = value_text(_anonymous(node.value))
    return (
        f"{node.form or 'kernel'} {op_text(node.op, numbered)}({', '.join(types)}) "
        f"-> {ex.describe(node.epilogue, numbered)} {result}"
    )


def _anonymous(value: Value) -> Value:
    return replace(value, name="-", host="", first=0)


def step_digest(node: Node, graph: Graph) -> str:
    """Eight hex digits of `step_text`."""
    return text_digest(step_text(node, graph))


def text_digest(text: str) -> str:
    """Eight hex digits of a step's text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def dump(graph: Graph) -> str:
    """The graph as text, one line a node: what `--dump` writes and what pass tests compare."""
    lines = [f"graph {graph.name} batch {graph.batch}"]
    lines += [f"  input {value_text(value)}" for value in graph.inputs]
    lines += [
        f"  constant {value_text(constant.value)}{' = 0' if constant.is_zero else ''}"
        for constant in graph.constants.values()
    ]
    for node in graph.nodes:
        operands = ", ".join(node.operands)
        text = f"  {value_text(node.value)} = {op_text(node.op, node.inputs)}({operands})"
        if isinstance(node.op, Pointwise):
            text = f"  {value_text(node.value)} = {ex.describe(node.epilogue, node.inputs)}"
        elif isinstance(node.op, Join):
            text = f"  {value_text(node.value)} = join({', '.join(node.inputs)})"
        elif node.epilogue != ACC:
            text += f" -> {ex.describe(node.epilogue, node.inputs)}"
        form = f"  form {node.form}" if node.form else ""
        form += f" {node.engine}" if node.engine else ""
        lines.append(f"{text}{form}  # {', '.join(node.layers)}")
    lines.append(f"  output {', '.join(graph.outputs)}")
    return "\n".join(lines) + "\n"


def value_text(value: Value) -> str:
    """`conv1 [1, 16, 32, 32] float16 NHWC`."""
    layout = "" if value.layout == "packed" else f" {value.layout}"
    part = f" by {value.pixel}" if value.pixel else ""
    part += f" in {value.host} from {value.first}" if value.host else ""
    return f"{value.name} [{', '.join(map(str, value.shape))}] {value.dtype}{layout}{part}"


def op_text(op: Op, inputs: Sequence[str]) -> str:
    """`conv<stride=(2, 2)>`: the fields that are not the default ones."""
    default = type(op)
    shown = []
    for name, field_ in op.__dataclass_fields__.items():
        value = getattr(op, name)
        if value != field_.default:
            text = op_text(value, inputs) if isinstance(value, Conv | MatMul) else value
            if isinstance(op, SqueezeExcite) or name == "logits":
                text = ex.describe(value, inputs)
            shown.append(f"{name}={text}")
    return default.__name__.lower() + (f"<{', '.join(shown)}>" if shown else "")
