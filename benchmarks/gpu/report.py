"""What a record of `run.sh` says: each claim of the CUDA backend met, missed or not measured, with its figures.

    python benchmarks/gpu/report.py gpu.json

Needs neither a GPU nor any package.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

LONG_S = 100e-6
"""What a dense layer takes at least for densities to be judged by it."""
DENSE_AT_MOST, GATED_AT_LEAST, BAR_AT_MOST = 1.2, {1: 2.0, 32: 1.5}, 1.3
"""Times of torch's best a dense network may take; how many times faster than it a gated one has to be, by batch; and
times of the bar that a layer over lists may take."""
PEAK_SHARE, PACKED_AT_LEAST = 0.6, 3.0
"""Of the measured peak of matrix products that a dense 3x3 layer at batch 32 reaches; and how many times faster than
float16 a packed layer has to be."""
CLOSE, CLOSE_SHARE = 0.15, 0.9
"""How far a predicted time may be off the measured one, and the share of kernels of which that has to be true."""
NETWORKS = ("networks", "torch", "torch compiled")
CHECKED = ("bodies", "packed dense", "networks", "gates", "checks")
"""Groups of steps that claims about networks, and the one about checks, rest on."""
FRAME = {True: "met", False: "MISSED", None: "not measured"}


@dataclass(frozen=True)
class Verdict:
    """A claim and what was measured of it. met: None if something that it needs was not measured."""

    claim: str
    met: bool | None
    figures: tuple[str, ...]

    def lines(self) -> list[str]:
        """For a terminal."""
        return [f"{FRAME[self.met]:>12}  {self.claim}", *(f"{'':14}{one}" for one in self.figures)]


def verdicts(record: dict) -> list[Verdict]:
    """Every claim."""
    claims: list[Callable[[dict], Verdict]] = [checked, dense_networks]
    found = [claim(record) for claim in claims]
    found += [gated_networks(record, batch) for batch in GATED_AT_LEAST]
    return [*found, *(claim(record) for claim in (kernel_bars, matrix_peak, packed_dense, waves, predicted_times))]


def checked(record: dict) -> Verdict:
    """Everything that was checked is right."""
    checks, wrong = record["checks"], [one for one in record["checks"] if not one["ok"]]
    named = [f"wrong: {_text(one)}, error {one.get('error')}" for one in wrong]
    lost = [f"lost: {one['step']}: {one['error']}" for one in record["lost"]]
    met = judged(record, [one["ok"] for one in checks], bool, CHECKED)
    claim = "every kernel and network agrees with its reference"
    return Verdict(claim, False if lost else met, (f"{len(checks)} checks", *named, *lost))


def dense_networks(record: dict) -> Verdict:
    """Dense float16 networks against torch's best."""
    rows, figures = [one for one in record["networks"] if _is_half(one) and one["density"] == 1], []
    ratios = []
    for one in rows:
        best = torchs_best(record, one)
        ratios.append(best and one["median_s"] / best["median_s"])
        figures.append(f"{one['name']}: {_us(one['median_s'])}{_beside(best, ratios[-1], 'times')}")
    return Verdict(
        f"dense float16 networks take at most {DENSE_AT_MOST} times torch's best",
        judged(record, ratios, lambda ratio: ratio <= DENSE_AT_MOST, NETWORKS),
        tuple(figures),
    )


def gated_networks(record: dict, batch: int) -> Verdict:
    """Gated float16 networks against torch's best, with the share of launches."""
    least, figures, ratios = GATED_AT_LEAST[batch], [], []
    for one in record["networks"]:
        if not _is_half(one) or one["density"] != 0.5 or one["batch"] != batch:
            continue
        best, share = torchs_best(record, one), launch_share(record, one)
        ratios.append(best and best["median_s"] / one["median_s"])
        launches = "launches not traced" if share is None else f"{share:.0%} of it is launching"
        figures.append(
            f"{one['name']}: {_us(one['median_s'])}, {launches}{_beside(best, ratios[-1], 'times as fast as')}"
        )
    claim = f"d = 0.5 at batch {batch} is at least {least} times as fast as torch's best"
    return Verdict(claim, judged(record, ratios, lambda ratio: ratio >= least, NETWORKS), tuple(figures))


def kernel_bars(record: dict) -> Verdict:
    """Layers over lists whose dense layer takes long enough."""
    facts, kernels, figures, ratios = record["facts"], _layers(record), [], []
    dense = {_same(one): one for one in kernels if one["density"] == 1}
    for one in kernels:
        whole = dense.get(_same(one))
        if one["density"] == 1 or whole is None or whole["median_s"] < LONG_S:
            continue
        d, moved = one["density"], facts["copy_bytes_s"]
        terms = {
            "compute": d**2 * whole["median_s"],
            "traffic": (d * one["activation_bytes"] + d**2 * one["weight_bytes"]) / moved,
            "launch": facts["launch_s"],
        }
        bound = max(terms, key=terms.__getitem__)
        ratios.append(one["median_s"] / terms[bound])
        figures.append(
            f"{one['name']} {one['format']} batch {one['batch']}, d = {d}: {_us(one['median_s'])} (dense "
            f"{_us(whole['median_s'])}), {ratios[-1]:.2f} times the bar of {_us(terms[bound])} ({bound})"
        )
    claim = f"layers at d = 0.5 and 0.25 whose dense one takes {_us(LONG_S)} are within {BAR_AT_MOST} times their bar"
    return Verdict(claim, judged(record, ratios, lambda ratio: ratio <= BAR_AT_MOST, ["bars"]), tuple(figures))


def matrix_peak(record: dict) -> Verdict:
    """Dense 3x3 layers without strides at batch 32 against the matrix products of cuBLAS."""
    peak, figures, shares = record["facts"].get("float16_macs_s"), [], []
    for one in _layers(record):
        is_meant = one["part"] == "layers" and one["name"].startswith("3x3") and "stride" not in one["name"]
        if not is_meant or (one["density"], one["batch"], one["format"]) != (1, 32, "float16"):
            continue
        shares.append(peak and one["macs_s"] / peak)
        share = f"{shares[-1]:.0%} of the peak" if peak else "peak not measured"
        cudnn = best_of(
            other for other in record["torch"] if other.get("name") == one["name"] and _same(other) == _same(one)
        )
        beside = f", {cudnn['variant']} {_us(cudnn['median_s'])}" if cudnn else ""
        figures.append(f"{one['name']}: {_us(one['median_s'])}, {one['macs_s'] * 2e-12:.0f} TFLOP/s, {share}{beside}")
    claim = f"dense 3x3 layers at batch 32 reach {PEAK_SHARE:.0%} of the measured matrix peak"
    return Verdict(claim, judged(record, shares, lambda share: share >= PEAK_SHARE, ["float16 layers"]), tuple(figures))


def packed_dense(record: dict) -> Verdict:
    """A dense layer of packed 4-bit weights against torch's float16."""
    ours = [one for one in record["kernels"] if one["part"] == "packed"]
    theirs, figures, ratios = best_of(one for one in record["torch"] if one.get("name") == "dense"), [], []
    for one in ours:
        ratios.append(theirs and theirs["median_s"] / one["median_s"])
        share = one["bytes_s"] / record["facts"]["copy_bytes_s"]
        rate = f"{one['bytes_s'] / 1e12:.2f} TB/s, {share:.0%} of the measured bandwidth"
        figures.append(
            f"{one['size']}^2: {_us(one['median_s'])}, {rate}{_beside(theirs, ratios[-1], 'times as fast as')}"
        )
    claim = f"a packed 4-bit dense layer is at least {PACKED_AT_LEAST} times as fast as float16 at batch 1, cold"
    return Verdict(
        claim, judged(record, ratios, lambda ratio: ratio >= PACKED_AT_LEAST, ["packed dense"]), tuple(figures)
    )


def waves(record: dict) -> Verdict:
    """Grids, resident blocks, waves and tails of all launches, as predicted and as the driver has them."""
    rows = [one for each in record["waves"] for one in each["kernels"]]
    keys = ("grid", "resident", "waves", "tail")
    others = [one for one in rows if any(not _equal(one[key], one[f"measured_{key}"]) for key in keys)]
    figures = [f"{len(rows) - len(others)} of {len(rows)} launches"]
    for one in others[:5]:
        pairs = (f"{key} {one[key]} and {one[f'measured_{key}']}" for key in keys)
        figures.append(f"{one['layer']} ({one['variant']}): {', '.join(pairs)}")
    met = judged(record, [one not in others for one in rows], bool, ["waves"])
    return Verdict("waves and tails are as predicted", met, tuple(figures))


def predicted_times(record: dict) -> Verdict:
    """Times of the launches of networks, as predicted and as traced."""
    figures, shares = [], []
    for each in record["launches"]:
        rows = [one for one in each["kernels"] if one["measured_s"]]
        near = [abs(one["predicted_s"] / one["measured_s"] - 1) <= CLOSE for one in rows]
        shares += near
        if rows:
            sums = (_us(sum(one[key] for one in rows)) for key in ("predicted_s", "measured_s"))
            counts = f"{sum(near)} of {len(rows)} close"
            figures.append("{}: {}, together predicted {}, measured {}".format(each["name"], counts, *sums))
    share = sum(shares) / len(shares) if shares else None
    claim = f"predicted times are within {CLOSE:.0%} for {CLOSE_SHARE:.0%} of the kernels"
    return Verdict(claim, judged(record, [share], lambda one: one >= CLOSE_SHARE, ["launches"]), tuple(figures))


def torchs_best(record: dict, network: dict) -> dict | None:
    """The fastest variant of torch on the same network and batch."""
    keys = ("network", "batch")
    return best_of(one for one in record["torch"] if all(one.get(key) == network[key] for key in keys))


def best_of(times: Iterable[dict]) -> dict | None:
    return min(times, key=lambda one: one["median_s"], default=None)


def launch_share(record: dict, network: dict) -> float | None:
    """Share of a network's time in which none of its kernels runs; None if they were not traced."""
    found = [one for one in record["launches"] if one["name"] == network["name"] and one["kernels_s"]]
    return 1 - found[0]["kernels_s"] / network["median_s"] if found else None


def _layers(record: dict) -> list[dict]:
    """Convolutions under the chosen schedule."""
    return [one for one in record["kernels"] if one["part"] in ("layers", "bars") and one["chosen"]]


def _same(one: dict) -> tuple:
    return one.get("name"), one.get("batch"), one.get("format")


def _is_half(network: dict) -> bool:
    return network["weights"] == "float16"


def judged(record: dict, values: list, holds: Callable[[float], bool], groups: Iterable[str]) -> bool | None:
    """Whether it holds for all values; None if there are none or if one that is wanted is not there.

    values: None among them is one that could not be computed. groups: of steps, all of which had to come to their end.
    """
    known = [one for one in values if one is not None]
    if not all(map(holds, known)):
        return False
    finished = all(record["finished"].get(group) == record["planned"].get(group, 0) for group in groups)
    return True if known and len(known) == len(values) and finished else None


def _equal(one, other) -> bool:
    return list(one) == list(other) if isinstance(one, list | tuple) else abs(one - other) < 1e-9


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} us"


def _beside(best: dict | None, ratio: float | None, words: str) -> str:
    return (
        f", {ratio:.2f} {words} torch's {best['variant']} ({_us(best['median_s'])})" if best else ", torch not measured"
    )


def _text(entry: dict) -> str:
    return " ".join(
        str(entry[key]) for key in ("name", "batch", "density", "format", "function", "splits") if key in entry
    )


def staircase(record: dict) -> list[str]:
    """Measured and predicted times over output channels."""
    rows = [one for one in record["kernels"] if one["part"] == "staircase"]
    return [f"{one['name']}: {_us(one['median_s'])}, predicted {_us(one['predicted_s'])}" for one in rows]


def report(record: dict) -> str:
    """The whole table."""
    facts = record["facts"]
    lines = [f"{facts['device']}, {facts['date']}, torch {facts.get('torch', 'not there')}"]
    if "copy_bytes_s" in facts:
        lines.append(f"measured: copy {facts['copy_bytes_s'] / 1e12:.2f} TB/s, launch {_us(facts['launch_s'])}")
        lines += [line for one in verdicts(record) for line in one.lines()]
    else:
        lines.append("this GPU's bandwidth was not measured, without which nothing is judged")
    stairs = staircase(record)
    lines += ["staircase over output channels, batch 32:", *(f"  {one}" for one in stairs)] if stairs else []
    skipped = [f"  {one['step']}: {one['error']}" for one in record["skipped"]]
    return "\n".join([*lines, f"{len(skipped)} steps skipped", *skipped])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("record", type=Path)
    path = parser.parse_args().record
    try:
        print(report(json.loads(path.read_text())))
    except (OSError, ValueError) as error:
        sys.exit(f"{path}: {error}")
    except (KeyError, TypeError) as error:
        sys.exit(f"{path}: no record of run.sh ({type(error).__name__}: {error})")


if __name__ == "__main__":
    main()
