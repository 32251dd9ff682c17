"""What every convolution kernel has in common: its arguments, where values lie, and what follows the sums."""

from __future__ import annotations

from abc import ABC, abstractmethod

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.targets.cpu import Isa

from ..layout import Layout
from .emit import PARALLEL_MACS, activated, build_kernel, lanes_from, spread
from .halo import clear_block, clear_margins
from .lists import for_each_losing_block, listed_block
from .problem import ConvProblem
from .stored import load, store


class Convolution(ABC):
    """A kernel family fills in the shape of its weight and the loops that compute and store the output.

    lanes: of a vector. given: the kernel's buffers by role. weight_element, sum_element: types of the packed weight's
    elements and of the sums.
    """

    lanes: int
    weight_element = sum_element = "float32"

    def __init__(self, problem: ConvProblem, isa: Isa, x_layout: Layout, out_layout: Layout, residual_layout, clear):
        self.problem, self.spec, self.isa = problem, problem.spec, isa
        self.x_layout, self.out_layout, self.residual_layout = x_layout, out_layout, residual_layout
        self.clear_losers = clear
        self.parallel = problem.macs > PARALLEL_MACS
        self.given: dict = {}

    @abstractmethod
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the packed weight."""

    @abstractmethod
    def compute(self) -> None:
        """Emit the loops that write the output; what losing channels hold is written already."""

    def build(self) -> tirx.PrimFunc:
        """The kernel."""
        batch, stored = self.problem.out_shape[0], self.out_layout.block
        lists = {"winners": self.spec.winners, "active": self.spec.active}
        shapes = {
            "x": self.x_layout.physical(self.problem.x_shape),
            "weight": self.weight_shape(),
            "bias": (-(-self.problem.channels_out // stored) * stored,),
            "pi": (batch, self.problem.channels_out),
            "out": self.out_layout.physical(self.problem.out_shape),
        }
        shapes |= dict.fromkeys(("multiplier", "scale"), shapes["bias"]) | {"mask": shapes["pi"]}
        elements = {"x": self.x_layout.element, "weight": self.weight_element, "out": self.out_layout.element}
        elements |= self.elements()
        if self.residual_layout:
            shapes["residual"] = self.residual_layout.physical(self.problem.out_shape)
            elements["residual"] = self.residual_layout.element
        for role, listed in lists.items():
            shapes[role], elements[role] = (batch, listed.count if listed else 0), "int32"
        arguments = [(role, shapes[role], elements.get(role, "float32")) for role in (*self.spec.roles, "out")]
        return build_kernel(self.spec.name, arguments, self._body)

    def elements(self) -> dict[str, str]:
        """Types of further arguments that are not float32, by role."""
        return {}

    def computed_block(self, n, position):
        """The channel block at a position among the computed ones."""
        if self.spec.winners is None:
            return position
        return listed_block(self.given["winners"], n, position, self.spec.winners, self.lanes)

    def per_channel(self, role: str, before: list, block):
        """The vector of bias or pi that goes with a channel block."""
        return self.given[role][(*before, lanes_from(block * self.lanes, self.lanes))]

    def bias(self, block):
        """Where the sums of a channel block start."""
        return self.per_channel("bias", [], block) if "bias" in self.given else spread(T.float32(0), self.lanes)

    def place(self, layout: Layout, n, block, row, column) -> list:
        """The index of a vector: neighbouring channels in a block, or neighbouring pixels of a plane."""
        if layout.block > 1:
            return layout.index(n, block, row, column, lanes_from(0, layout.block))
        return [n, block, row + layout.halo, lanes_from(column + layout.halo, self.lanes)]

    def factors(self, n, block):
        """What `finished` wants to know of a channel block."""
        return T.bind(self.per_channel("pi", [n], block)) if "pi" in self.given else None

    def finished(self, value, pi, n, block, row, column):
        """The output vector behind a sum: scaled, added to the residual, activated. pi: from `factors`."""
        if self.spec.gate == "branch":
            value = value * pi
        if "residual" in self.given:
            place = self.place(self.residual_layout, n, block, row, column)
            value = value + load(self.given["residual"], self.residual_layout, place)
        value = activated(self.spec.activation, value, self.lanes)
        return value * pi if self.spec.gate == "output" else value

    def store(self, value, n, block, row, column) -> None:
        """Write a vector of the output."""
        store(self.given["out"], self.out_layout, self.place(self.out_layout, n, block, row, column), value, self.isa)

    def clear_margins(self, n, block, first_row, height: int) -> None:
        """Emit the zeros around these rows of the output."""
        clear_margins(self.given["out"], self.out_layout, self.problem.out_shape, n, block, first_row, height)

    def _body(self, *buffers) -> None:
        self.given = dict(zip((*self.spec.roles, "out"), buffers))
        if self.spec.winners:
            self._write_losers()
        self.compute()

    def _write_losers(self) -> None:
        """Zeros; but under a gate on the branch, a losing channel is the activation of the residual alone."""
        write = None
        if self.spec.gate == "branch" and "residual" in self.spec.roles:
            write = self._pass_residual
        elif self.clear_losers:
            write = self._clear
        if write:
            for_each_losing_block(self.given["winners"], self.problem, self.out_layout.block, write)

    def _clear(self, n, block) -> None:
        clear_block(self.given["out"], self.out_layout, self.problem.out_shape, n, block, self.lost())

    def lost(self) -> int:
        """The output of losing channels."""
        return 0

    def resting(self, residual, lanes: int):
        """The output of losing channels under a gate on the branch."""
        return activated(self.spec.activation, residual, lanes)

    def _pass_residual(self, n, block) -> None:
        _, _, rows, columns = self.problem.out_shape
        lane = lanes_from(0, self.out_layout.block)
        with T.grid(rows, columns) as (row, column):
            place = self.residual_layout.index(n, block, row, column, lane)
            value = load(self.given["residual"], self.residual_layout, place)
            value = self.resting(value, self.out_layout.block)
            place = self.out_layout.index(n, block, row, column, lane)
            store(self.given["out"], self.out_layout, place, value, self.isa)
        self.clear_margins(n, block, 0, rows)
