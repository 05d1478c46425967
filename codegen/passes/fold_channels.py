"""Pixels folded into channels, where that is exact and pays.

A convolution of what was upsampled by repeating pixels computes each phase of its output from the small image, with the
taps that fall on one pixel added up: of a 5x5's 25 taps 9 remain. A step then interleaves the phases. A convolution of
stride 2 reads 2x2 pixels as four times the channels with stride 1; its filter gets zeros where it has no taps.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.choices import Choices
from cnngen.codegen.cost import ConvProblem
from cnngen.codegen.expr import ACC, Coord, Expr, Float, Int, Load
from cnngen.codegen.folding import Axis, paired_axis, paired_filter, phase_axis, phase_filters
from cnngen.codegen.graph import Constant, Graph, Node, Value, add_inputs, tidy
from cnngen.codegen.node_ops import Conv, Pointwise
from cnngen.codegen.rewriting import Draft, all_layers, is_by_channel, phase_index, problem_of, repeats
from cnngen.codegen.targets import CUDA, Target

AS_WRITTEN, PHASES, APART, FOLDED = "as_written", "phases", "phases_apart", "folded"
Phase = tuple[int, int]  # row and column of an output among those that one pixel was repeated for
FEW_CHANNELS = 8  # of an input whose pixels are worth folding: tensor cores read more at once


def fold_channels(graph: Graph, choices: Choices, target: Target = CUDA) -> Graph:
    """Each convolution as it is cheapest: as written, or on folded pixels."""
    if not target.pads_channels:
        return graph
    return _Folding(graph, choices).folded()


@dataclass(frozen=True)
class _Upsampled:
    """A convolution of what repeats the pixels of `source`."""

    node: Node
    op: Conv
    writer: Node  # of the repeated pixels
    source: Value
    weight: Constant
    factors: tuple[int, int]

    @property
    def phases(self) -> list[Phase]:
        return list(itertools.product(range(self.factors[0]), range(self.factors[1])))

    def axes(self, phases: Sequence[Phase]) -> tuple[Axis, Axis]:
        rows, columns = (
            phase_axis(
                self.source.shape[axis + 2],
                self.node.value.shape[axis + 2],
                self.weight.value.shape[axis + 2],
                self.factors[axis],
                self.op.padding[axis],
                [phase[axis] for phase in phases],
            )
            for axis in (0, 1)
        )
        return rows, columns

    def output(self, phases: Sequence[Phase]) -> tuple[int, ...]:
        """The shape of the phases' convolution, [phase, filter] its channels."""
        rows, columns = self.axes(phases)
        filters = len(phases) * self.node.value.shape[1]
        return (self.source.shape[0], filters, rows.places, columns.places)

    def problem(self, phases: Sequence[Phase]) -> ConvProblem:
        rows, columns = self.axes(phases)
        taps = (rows.taps, columns.taps)
        return ConvProblem(self.source.shape, self.output(phases), taps, Conv(), self.source.dtype)

    def filters(self, draft: Draft, name: str, phases: Sequence[Phase]) -> str:
        """Adds the phases' filters; returns their name."""
        rows, columns = axes = self.axes(phases)
        padding, (k, c, _, _) = (self.op.padding[0], self.op.padding[1]), self.weight.value.shape
        shape = (len(phases) * k, c, rows.taps, columns.taps)
        return draft.constant(
            name, shape, phase_filters, [self.weight], (self.factors, padding, tuple(phases), axes)
        )


class _Folding:
    def __init__(self, graph: Graph, choices: Choices) -> None:
        self.graph, self.draft = graph, Draft(graph, choices)

    def folded(self) -> Graph:
        for node in self.graph.nodes:
            match node.op:
                case Conv(groups=1, dilation=(1, 1), stride=(1, 1)) if conv := self._upsampled(node, node.op):
                    self._fold_phases(conv)
                case Conv(groups=1, dilation=(1, 1), stride=(2, 2)) if self._is_stem(node):
                    self._fold_stride(node, node.op)
                case _:
                    self.draft.add(node)
        return self.draft.result()

    # --- after repeating pixels ----------------------------------------------------------------------------------

    def _upsampled(self, node: Node, op: Conv) -> _Upsampled | None:
        graph, weight = self.graph, self.graph.constants.get(node.inputs[1])
        writer = graph.producers.get(node.inputs[0])
        if writer is None or weight is None:
            return None
        factors = repeats(graph.values, writer)
        before = graph.producers.get(writer.inputs[0]) if factors else None
        if factors is None or before is None or repeats(graph.values, before):
            return None
        if weight.value.shape[2:] == (1, 1):
            return None  # all phases are the same: `reorder` has dealt with it
        return _Upsampled(node, op, writer, before.value, weight, factors)

    def _fold_phases(self, conv: _Upsampled) -> None:
        node, cost = conv.node, self.draft.choices.cost
        alone = self.graph.sole_consumer(conv.writer.name) is not None
        store = cost.move(2 * node.value.bytes)
        apart = [[phase] for phase in conv.phases]
        prices = {
            AS_WRITTEN: cost.convolution(problem_of(conv.writer.value, node.value, conv.weight, conv.op))
            + (cost.move(conv.source.bytes + conv.writer.value.bytes) if alone else 0.0),
            PHASES: cost.convolution(conv.problem(conv.phases)) + store,
            APART: sum(cost.convolution(conv.problem(phase)) for phase in apart) + store,
        }
        chosen = self.draft.choose("fold_channels", node, prices)
        if chosen == AS_WRITTEN:
            self.draft.add(node)
        elif chosen == PHASES:
            self.draft.add(self._interleaved(conv, [self._phases(conv, conv.phases, ".phases")]))
        else:
            parts = [self._phases(conv, phase, f".phase{number}") for number, phase in enumerate(apart)]
            self.draft.add(self._interleaved(conv, parts))

    def _phases(self, conv: _Upsampled, phases: Sequence[Phase], suffix: str) -> str:
        """Adds the convolution of some phases; returns its name."""
        rows, columns = conv.axes(phases)
        weight = conv.filters(self.draft, f"{conv.weight.value.name}{suffix}", phases)
        name = self.draft.fresh(f"{conv.node.name}{suffix}")
        folded = Node(
            replace(conv.node.value, name=name, shape=conv.output(phases)),
            Conv(padding=(rows.before, columns.before, rows.after, columns.after), tf32=conv.op.tf32),
            (conv.source.name, weight),
            all_layers([conv.writer, conv.node]),
        )
        self.draft.add(self._with_epilogue(folded, conv.node, len(phases)))
        return name

    def _with_epilogue(self, folded: Node, node: Node, copies: int) -> Node:
        """The folded convolution with the epilogue of the one as written, where that is of channels alone."""
        if not is_by_channel(node, self.graph.constants):
            return folded
        names = []
        for name in node.extras:
            constant = self.graph.constants[name]
            shape = (copies * constant.value.shape[0],)
            if copies > 1:
                name = self.draft.constant(f"{name}.phases", shape, np.tile, [constant], (copies,))
            names.append(name)
        folded, places = add_inputs(folded, names)
        numbers = {
            node.inputs.index(old, 2): places[new] for old, new in zip(node.extras, names, strict=True)
        }
        return tidy(replace(folded, epilogue=ex.renumber(node.epilogue, numbers)))

    def _interleaved(self, conv: _Upsampled, parts: Sequence[str]) -> Node:
        """Each pixel of the output where its phase's convolution has it."""
        node, factors = conv.node, conv.factors
        place = (ex.call("idiv", Coord(2), Int(factors[0])), ex.call("idiv", Coord(3), Int(factors[1])))
        row, column = ex.call("imod", Coord(2), Int(factors[0])), ex.call("imod", Coord(3), Int(factors[1]))
        if len(parts) == 1:
            result: Expr = Load(0, phase_index(factors, node.value.shape[1]))
        else:
            loads: list[Expr] = [Load(i, (Coord(0), Coord(1), *place)) for i in range(len(parts))]
            lines = [_by_number(column, loads[i : i + factors[1]]) for i in range(0, len(loads), factors[1])]
            result = _by_number(row, lines)
        if is_by_channel(node, self.graph.constants):
            return Node(node.value, Pointwise(), tuple(parts), node.layers, result)
        extras, numbers = list(dict.fromkeys(node.extras)), {}
        for load in ex.loads(node.epilogue):
            numbers[load.source] = len(parts) + extras.index(node.inputs[load.source])

        def moved(expr: Expr) -> Expr | None:
            return result if expr == ACC else None

        epilogue = ex.rewrite(ex.renumber(node.epilogue, numbers), moved)
        return tidy(Node(node.value, Pointwise(), (*parts, *extras), node.layers, epilogue))

    # --- stride 2 ------------------------------------------------------------------------------------------------

    def _is_stem(self, node: Node) -> bool:
        """Whether few channels come from a step that can as well write them folded."""
        writer = self.graph.producers.get(node.inputs[0])
        few = self.graph.values[node.inputs[0]].shape[1] < FEW_CHANNELS
        return (
            few
            and writer is not None
            and isinstance(writer.op, Pointwise)
            and node.inputs[1] in self.graph.constants
        )

    def _fold_stride(self, node: Node, op: Conv) -> None:
        x, w = self.graph.values[node.inputs[0]], self.graph.constants[node.inputs[1]]
        rows, columns = (
            paired_axis(
                x.shape[axis + 2], node.value.shape[axis + 2], w.value.shape[axis + 2], op.padding[axis]
            )
            for axis in (0, 1)
        )
        shape = (x.shape[0], 4 * x.shape[1], rows.size, columns.size)
        padding = (rows.before, columns.before, rows.after, columns.after)
        problem = ConvProblem(shape, node.value.shape, (rows.taps, columns.taps), Conv(), x.dtype)
        prices = {
            AS_WRITTEN: self.draft.choices.cost.convolution(problem_of(x, node.value, w, op)),
            FOLDED: self.draft.choices.cost.convolution(problem),
        }
        if self.draft.choose("fold_channels", node, prices) == AS_WRITTEN:
            self.draft.add(node)
            return
        writer = self.graph.producers[x.name]
        folded = replace(x, name=self.draft.fresh(f"{x.name}.folded"), shape=shape)
        self.draft.add(Node(folded, Pointwise(), (x.name,), writer.layers, _folded(x)))
        (k, c, _, _), padding_before = w.value.shape, (op.padding[0], op.padding[1])
        weight = self.draft.constant(
            f"{w.value.name}.folded",
            (k, 4 * c, rows.taps, columns.taps),
            paired_filter,
            [w],
            (padding_before, (rows, columns)),
        )
        self.draft.add(
            replace(
                node, op=Conv(padding=padding, tf32=op.tf32), inputs=(folded.name, weight, *node.inputs[2:])
            )
        )


def _by_number(number: Expr, options: Sequence[Expr]) -> Expr:
    """The option of that number."""
    result = options[-1]
    for i in reversed(range(len(options) - 1)):
        result = ex.select(ex.call("lt", number, Int(i + 1)), options[i], result)
    return result


def _folded(x: Value) -> Expr:
    """[row of the pair, column, channel] as one axis; beyond the last row or column 0."""
    channels = x.shape[1]
    part = ex.call("idiv", Coord(1), Int(channels))
    row = ex.call("iadd", ex.call("imul", Coord(2), Int(2)), ex.call("idiv", part, Int(2)))
    column = ex.call("iadd", ex.call("imul", Coord(3), Int(2)), ex.call("imod", part, Int(2)))
    load = Load(0, (Coord(0), ex.call("imod", Coord(1), Int(channels)), row, column))
    inside: Expr = ex.TRUE
    for index, extent in ((row, x.shape[2]), (column, x.shape[3])):
        if extent % 2:
            inside = ex.call("and", inside, ex.call("lt", index, Int(extent)))
    return ex.select(inside, load, Float(0.0))
