"""The channel gate as one kernel: subsample, predict, pick the winners, write pi and their list."""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.core.layers import ChannelGateSpec
from espalier.targets.cpu import Isa

from ..layout import Layout
from .emit import Accumulators, build_kernel, lanes_from, loop, spread, zeros
from .lists import for_each_channel
from .stored import load

PARALLEL_PIXELS = 200_000
"""Subsampling fewer values than this is done on one thread."""


def channel_gate(spec: ChannelGateSpec, x_shape: tuple[int, ...], channels_out: int, isa: Isa, x_layout: Layout):
    """The kernel: x, phi [C_in, C_out up to whole vectors], rho, [active]; results pi [N, C_out], winners [N, kept]."""
    return ChannelGateKernel(spec, x_shape, channels_out, isa, x_layout).build()


class ChannelGateKernel:
    """The kernel at work. element, factor_element: types of saliencies and of pi."""

    element = factor_element = "float32"

    def __init__(self, spec, x_shape, channels_out, isa, x_layout):
        self.spec, self.x_shape, self.channels, self.isa, self.x_layout = spec, x_shape, channels_out, isa, x_layout
        self.groups = channels_out // spec.granularity
        self.vectors = -(-channels_out // isa.lanes)

    def build(self):
        batch, wide = self.x_shape[0], self.vectors * self.isa.lanes
        shapes = {
            "x": (self.x_layout.physical(self.x_shape), self.x_layout.element),
            "phi": self.predictor(),
            "rho": ((wide,), self.element),
            "active": ((batch, self.spec.active.count if self.spec.active else 0), "int32"),
        }
        arguments = [(role, *shapes[role]) for role in self.spec.roles]
        arguments += [("pi", (batch, self.channels), self.factor_element)]
        arguments += [("winners", (batch, self.spec.kept), "int32")]
        return build_kernel(self.spec.name, arguments, self._body)

    def predictor(self) -> tuple[tuple, str]:
        """Shape and type of the packed phi."""
        return (self.x_shape[1], self.vectors * self.isa.lanes), "float32"

    def _body(self, *buffers) -> None:
        self.given = dict(zip((*self.spec.roles, "pi", "winners"), buffers))
        batch = self.x_shape[0]
        saliency = T.alloc_buffer((batch, self.vectors * self.isa.lanes), self.element, scope="global")
        score = T.alloc_buffer((batch, self.groups), self.element, scope="global")
        subsampled = self.subsample()
        with T.serial(batch) as n:
            self.predict(subsampled, saliency, n)
            self._score(saliency, score, n)
            self._take_winners(saliency, score, n)

    def subsample(self):
        """Emit the means of |x|: a buffer [N, C_in, up to whole blocks]."""
        batch, channels_in = self.x_shape[:2]
        padded_in = -(-channels_in // self.x_layout.block) * self.x_layout.block
        subsampled = T.alloc_buffer((batch, padded_in), "float32", scope="global")
        if self.x_layout.block == 1:
            self._subsample_planes(subsampled)
        else:
            self._subsample_blocks(subsampled)
        return subsampled

    def for_each_block(self, body: Callable) -> None:
        """Emit `body(n, block)` in a loop over the blocks of x; those without an active channel are left out."""
        batch, channels, rows, columns = self.x_shape
        block, active = self.x_layout.block, self.spec.active
        count = -(-channels // block)
        if active and active.granularity >= block:
            count = active.count * (active.granularity // block)
        with loop(batch * count, batch * channels * rows * columns > PARALLEL_PIXELS) as task:
            n, number = T.bind(task // count), T.bind(task % count)
            if active and active.granularity >= block:
                per_group = active.granularity // block
                number = T.bind(self.given["active"][n, number // per_group] * per_group + number % per_group)
            body(n, number)

    def _subsample_blocks(self, subsampled) -> None:
        """Mean of |x| of each channel, a block at a time."""
        _, _, rows, columns = self.x_shape
        block = self.x_layout.block
        lane = lanes_from(0, block)

        def mean_of(n, number) -> None:
            total = Accumulators(4, block)
            for i in range(4):
                total[i] = zeros(block)
            with T.serial(rows) as row:
                self._add_row(total, n, number, row, columns, lane)
            mean = (total[0] + total[1] + (total[2] + total[3])) * spread(T.float32(1 / (rows * columns)), block)
            T.buffer_store(subsampled, mean, [n, lanes_from(number * block, block)])

        self.for_each_block(mean_of)

    def _add_row(self, total, n, block, row, columns: int, lane) -> None:
        """Four sums side by side, so that one addition need not wait for the last."""

        def add(i: int, column) -> None:
            place = self.x_layout.index(n, block, row, column, lane)
            total[i] = total[i] + tirx.abs(load(self.given["x"], self.x_layout, place))

        with T.serial(columns // 4) as step:
            for i in range(4):
                add(i, step * 4 + i)
        for i in range(columns % 4):
            add(i, columns // 4 * 4 + i)

    def _subsample_planes(self, subsampled) -> None:
        batch, channels, rows, columns = self.x_shape
        lanes = min(self.isa.lanes, 1 << (columns.bit_length() - 1))
        halo = self.x_layout.halo

        def plane(n, channel) -> None:
            def magnitude(row, place):
                return tirx.abs(load(self.given["x"], self.x_layout, [n, channel, row + halo, place]))

            total = Accumulators(1, lanes)
            tail = Accumulators(1, 1)
            total[0] = zeros(lanes)
            tail[0] = T.float32(0)
            with T.serial(rows) as row:
                with T.serial(columns // lanes) as step:
                    total[0] = total[0] + magnitude(row, lanes_from(step * lanes + halo, lanes))
                for column in range(columns // lanes * lanes, columns):
                    tail[0] = tail[0] + magnitude(row, column + halo)
            spilled = T.alloc_buffer((lanes,), "float32", scope="global")
            T.buffer_store(spilled, total[0], [lanes_from(0, lanes)])
            for i in range(lanes):
                tail[0] = tail[0] + spilled[i]
            T.buffer_store(subsampled, tail[0] * T.float32(1 / (rows * columns)), [n, channel])

        with T.serial(batch) as n:
            for_each_channel(self.given.get("active"), n, self.spec.active, channels, lambda channel: plane(n, channel))

    def predict(self, subsampled, saliency, n) -> None:
        """saliency = relu(subsampled phi + rho)."""
        lanes = self.isa.lanes
        with T.serial(self.vectors) as vector:
            T.buffer_store(
                saliency, self.given["rho"][lanes_from(vector * lanes, lanes)], [n, lanes_from(vector * lanes, lanes)]
            )

        def step(channel) -> None:
            value = T.bind(spread(subsampled[n, channel], lanes))
            with T.serial(self.vectors) as vector:
                place = lanes_from(vector * lanes, lanes)
                T.buffer_store(saliency, saliency[n, place] + value * self.given["phi"][channel, place], [n, place])

        for_each_channel(self.given.get("active"), n, self.spec.active, self.x_shape[1], step)
        with T.serial(self.vectors) as vector:
            place = lanes_from(vector * lanes, lanes)
            T.buffer_store(saliency, tirx.max(saliency[n, place], zeros(lanes)), [n, place])

    def _score(self, saliency, score, n) -> None:
        with T.serial(self.groups) as group:
            T.buffer_store(score, tirx.const(0, self.element), [n, group])
            with T.serial(self.spec.granularity) as lane:
                T.buffer_store(score, score[n, group] + saliency[n, group * self.spec.granularity + lane], [n, group])

    def _take_winners(self, saliency, score, n) -> None:
        """A group wins when fewer than `kept` groups beat it; a tie is won by the lower number."""
        position = T.alloc_buffer((1,), "int32", scope="global")
        beaten = T.alloc_buffer((1,), "int32", scope="global")
        T.buffer_store(position, T.int32(0), [0])
        with T.serial(self.groups) as group:
            mine = T.bind(score[n, group])
            T.buffer_store(beaten, T.int32(0), [0])
            with T.serial(self.groups) as other:
                loses = tirx.any(score[n, other] > mine, tirx.all(score[n, other] == mine, other < group))
                T.buffer_store(beaten, beaten[0] + T.cast(loses, "int32"), [0])
            # The second condition holds the list's length even where a NaN makes every comparison false.
            wins = tirx.all(beaten[0] < self.spec.kept, position[0] < self.spec.kept)
            wins = T.bind(T.cast(wins, "int32"))
            with T.If(wins == 1):
                with T.Then():
                    T.buffer_store(self.given["winners"], group, [n, position[0]])
            T.buffer_store(position, position[0] + wins, [0])
            with T.serial(self.spec.granularity) as lane:
                channel = group * self.spec.granularity + lane
                boosts = self.spec.mode == "boost"
                factor = self.factor(saliency[n, channel]) if boosts else tirx.const(1, self.factor_element)
                T.buffer_store(self.given["pi"], factor * T.cast(wins, self.factor_element), [n, channel])

    def factor(self, saliency):
        """pi of a winner."""
        return saliency
