"""The network of `digits` in hls4ml and in da4ml, with the widths that make their numbers ours.

hls4ml writes C++ for a vendor's compiler, and only that can tell its resources and cycles: its C simulation runs here.
da4ml unrolls a network into adders, one image every cycle, as Verilog that runs in Icarus and that Yosys can count. It
rounds ties up; hls4ml can round them to even, as we do.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import hls4ml
import numpy as np
from da4ml.codegen import VerilogModel
from da4ml.trace import FixedVariableArrayInput, HWConfig, comb_trace, to_pipeline
from da4ml.trace.ops import quantize
from da4ml.types import CombLogic, minimal_kif
from torch import nn

from espalier.measure.fpga.rtl_simulation import INSTALL_ICARUS
from espalier.measure.fpga.tools import find_tool, run_tool

from .digits import PIXEL_EXPONENT, SHAPE, Layer, windows, with_integer_weights

TOP = "digits"
SUM_BITS = 32
ADDERS_A_CYCLE = 5
"""Of da4ml: additions in a row between registers."""

BENCH = Path(__file__).with_name("da4ml_bench.v")


def hls4ml_answers(layers: list[Layer], codes: np.ndarray, folder: Path) -> np.ndarray:
    """The codes of the logits by hls4ml's C simulation under g++, [N, 10], of codes uint8 [N, 1, 8, 8]."""
    network = with_integer_weights(layers)
    with contextlib.redirect_stdout(io.StringIO()):
        config = hls4ml.utils.config_from_pytorch_model(
            network, SHAPE, granularity="name", backend="Vitis", channels_last_conversion="internal"
        )
        for name, widths in hls4ml_widths(network, layers).items():
            config["LayerName"][name]["Precision"] |= widths
        project = hls4ml.converters.convert_from_pytorch_model(
            network, output_dir=str(folder), backend="Vitis", io_type="io_parallel", hls_config=config
        )
        project.compile()
        logits = project.predict(np.ldexp(codes.astype(np.float32), PIXEL_EXPONENT).transpose(0, 2, 3, 1).copy())
    return np.rint(np.ldexp(logits.astype(float), -layers[-1].y_exponent)).astype(np.int64).reshape(len(codes), -1)


def hls4ml_widths(network: nn.Sequential, layers: list[Layer]) -> dict[str, dict[str, str]]:
    """Layer of hls4ml -> its types; hls4ml names the steps of a torch network by their number."""
    found = {"input_1": {"result": _fixed(8, PIXEL_EXPONENT, "ufixed")}}
    steps = [number for number, step in enumerate(network) if isinstance(step, nn.Conv2d | nn.Linear)]
    for number, layer in zip(steps, layers, strict=True):
        sums, weight = _fixed(SUM_BITS, layer.sum_exponent), _fixed(8, layer.exponent)
        result = _fixed(8, layer.y_exponent, "fixed" if layer.is_last else "ufixed", "RND_CONV,SAT")
        found[f"_{number}"] = {
            "weight": weight,
            "bias": sums,
            "accum": sums,
            "result": result if layer.is_last else sums,
        }
        if not layer.is_last:
            found[f"_{number + 1}"] = {"result": result}
    return found


def _fixed(bits: int, exponent: int, kind: str = "fixed", modes: str = "TRN,WRAP") -> str:
    """A type of so many bits whose lowest one is 2^exponent."""
    return f"{kind}<{bits},{bits + exponent},{modes}>"


def da4ml_logic(layers: list[Layer]) -> CombLogic:
    """The network as da4ml's logic, from 64 pixels to the logits."""
    given = FixedVariableArrayInput(SHAPE, HWConfig(1, -1, ADDERS_A_CYCLE))
    x = quantize(given, 0, 8, 0)
    for layer in layers:
        matrix = layer.weights.reshape(len(layer.weights), -1).T.astype(np.float32)
        y = windows(layer, x) @ matrix + layer.bias.astype(np.float32)
        y = quantize(y * 2.0**-layer.shift, int(layer.is_last), 8 - layer.is_last, 0, "SAT", "RND")
        x = y.transpose((2, 0, 1))
    return comb_trace(given, x.ravel())


@dataclass(frozen=True, eq=False)
class Da4mlProject:
    """Its Verilog in folder/rtl, as `measure.synthesis.yosys` wants it; the module to count is `TOP`."""

    logic: CombLogic
    folder: Path
    latency_cycles: int

    @staticmethod
    def written(logic: CombLogic, folder: Path) -> Da4mlProject:
        """Write it."""
        pipeline = to_pipeline(logic, ADDERS_A_CYCLE, verbose=False)
        VerilogModel(pipeline, TOP, folder / "da4ml").write()
        (folder / "rtl").mkdir()
        for path in (folder / "da4ml" / "src").rglob("*.v"):
            (folder / "rtl" / f"{path.stem}.sv").write_bytes(path.read_bytes())
        return Da4mlProject(logic, folder, len(pipeline.solutions) + 1)

    def simulated(self, codes: np.ndarray) -> np.ndarray:
        """The logits that its Verilog gives in Icarus, an image every cycle, [N, 10], of codes uint8 [N, 1, 8, 8]."""
        compiler, runner = (find_tool(one, install=INSTALL_ICARUS) for one in ("iverilog", "vvp"))
        kinds = [minimal_kif(one) for one in self.logic.out_qint]
        bits = max(map(sum, kinds))
        given, came, program = (self.folder / name for name in ("in.hex", "out.hex", "simulate"))
        given.write_text("".join(f"{int.from_bytes(one.tobytes(), 'little'):0128x}\n" for one in codes))
        sizes = {"IN": 8 * codes[0].size, "OUT": bits * len(kinds)}
        sizes |= {"LATENCY": self.latency_cycles, "FRAMES": len(codes)}
        words = [compiler, "-g2012", "-o", program, "-s", "bench", *(f"-Pbench.{k}={v}" for k, v in sizes.items())]
        words += [BENCH, *sorted((self.folder / "rtl").glob("*.sv"))]
        run_tool(words, self.folder, self.folder / "iverilog.log", 600)
        run_tool([runner, "-n", program], self.folder, self.folder / "icarus.log", 600)
        rows = [int(line, 16) for line in came.read_text().split()]
        return np.array([[_signed(row >> bits * i, bits) for i in range(len(kinds))] for row in rows])


def _signed(word: int, bits: int) -> int:
    """The lowest bits of a word, as two's complement."""
    value = word & ((1 << bits) - 1)
    return value - (1 << bits) * (value >> bits - 1)
