"""Random operands of a case, what it should give, and a launch of its kernel."""

from __future__ import annotations

import math

import torch

from . import timing

TOLERANCE = {"float16": 5e-3, "tfloat32": 5e-3, "float32": 2e-5, "int8": 0.0}
"""Of the norm of the error over that of the reference; integers are exact."""
DTYPES = {"float16": torch.float16, "float32": torch.float32, "uint8": torch.uint8, "int32": torch.int32}
CHUNK_BYTES = 16


def random_lists(batch: int, groups: int, count: int) -> torch.Tensor:
    return torch.rand(batch, groups, device=timing.DEVICE).argsort(1)[:, :count].sort(1).values.int().contiguous()


def mask_of(lists: torch.Tensor, groups: int, granularity: int) -> torch.Tensor:
    """float32 [N, channels], 1 for listed channels."""
    mask = torch.zeros(len(lists), groups, device=timing.DEVICE).scatter_(1, lists.long(), 1.0)
    return mask.repeat_interleave(granularity, 1)


def operands(case: dict) -> dict[str, torch.Tensor]:
    """Fresh random tensors for a case, in the order of the kernel's arguments."""
    made = byte_operands(case) if case["format"] == "int8" else real_operands(case)
    batch, g = case["batch"], case["granularity"]
    if case["kept"]:
        active = random_lists(batch, case["channels_in"] // g, case["kept"][0])
        winners = random_lists(batch, case["y"][3] // g, case["kept"][1])
        made["x"] = made["x"] * mask_of(active, case["channels_in"] // g, g)[:, None, None].to(made["x"].dtype)
        mask = mask_of(winners, case["y"][3] // g, g)
        made["pi"] = mask * (torch.rand(batch, case["y"][3], device=timing.DEVICE) + 0.5)
        if case["format"] == "int8":
            made["pi"] = (made["pi"] * 100).to(torch.uint8)
        made |= {"winners": winners, "active": active}
    elif case["format"] == "int8" and case["arithmetic"]["x_zero"] and case["padding"]:
        made["outside"] = torch.full(
            (CHUNK_BYTES,), case["arithmetic"]["x_zero"], dtype=torch.uint8, device=timing.DEVICE
        )
    return made


def real_operands(case: dict) -> dict[str, torch.Tensor]:
    """x, weight and bias."""
    dtype, fan_in = DTYPES[case["dtype"]], math.prod(case["weight"][1:])
    x = torch.randn(case["x"], device=timing.DEVICE)
    x[..., case["channels_in"] :] = 0
    weight = torch.randn(case["weight"], device=timing.DEVICE) / fan_in**0.5
    bias = torch.randn(case["y"][3], device=timing.DEVICE)
    return {"x": x.to(dtype), "weight": weight.to(dtype), "bias": bias}


def byte_operands(case: dict) -> dict[str, torch.Tensor]:
    """x, weight, and what follows the sums: the bias, the zero point folded in, and a factor for each channel."""
    one, device, channels = case["arithmetic"], timing.DEVICE, case["y"][3]
    x = torch.randint(0, 256, case["x"], dtype=torch.uint8, device=device)
    weight = torch.randint(-128, 128, case["weight"], dtype=torch.int8, device=device)
    weight[..., case["channels_in"] :] = 0
    bias = torch.randint(-9999, 10000, (channels,), dtype=torch.int32, device=device)
    bias -= one["x_zero"] * weight.int().sum((1, 2, 3)).int()
    multiplier = torch.randint(one["multiplier"] // 2, one["multiplier"] + 1, (channels,), device=device)
    return {"x": x, "weight": weight, "bias": bias, "factor": multiplier.float() * 2.0 ** -one["shift"]}


def reference(case: dict, made: dict[str, torch.Tensor]) -> torch.Tensor:
    """The same layer by torch in float32, or in integers that float64 holds, as [N, H, W, C]."""
    if case["format"] == "int8":
        return byte_reference(case, made)
    x, weight = (made[role].float().permute(0, 3, 1, 2) for role in ("x", "weight"))
    y = torch.nn.functional.conv2d(x, weight, made["bias"], case["stride"], case["padding"]).relu()
    y = y * made["pi"][..., None, None] if "pi" in made else y
    return y.permute(0, 2, 3, 1)


def byte_reference(case: dict, made: dict[str, torch.Tensor]) -> torch.Tensor:
    """core/integer.py's formulas in int64; the image is surrounded by its zero point."""
    one, pad = case["arithmetic"], case["padding"]
    x, weight = (made[role].double().permute(0, 3, 1, 2) for role in ("x", "weight"))
    x = torch.nn.functional.pad(x, (pad,) * 4, value=float(one["x_zero"]))
    sums = torch.nn.functional.conv2d(x, weight, stride=case["stride"]).long() + made["bias"].long()[:, None, None]
    factor = (made["factor"].double() * 2.0 ** one["shift"]).long()[:, None, None]
    product = sums * (factor * made["pi"].long()[..., None, None] if "pi" in made else factor)
    raised = product + (1 << (one["shift"] - 1)) - 1 + ((product >> one["shift"]) & 1)
    return ((raised >> one["shift"]) + one["zero"]).clamp(one["low"], 255).permute(0, 2, 3, 1)


def launcher(library, case: dict, schedule: dict, made: dict, y: torch.Tensor):
    """A function that launches the kernel once."""
    arrivals, partial = [], []
    if schedule["counters"]:
        arrivals = [torch.zeros(schedule["counters"], dtype=torch.int32, device=timing.DEVICE)]
        partial = [torch.empty(schedule["partial"], dtype=DTYPES[schedule["sum"]], device=timing.DEVICE)]
    function = library[schedule["function"]]
    arguments = [*schedule["numbers"], *made.values(), *arrivals, y, *partial]
    return lambda: function(*arguments)


def check(library, case: dict, schedule: dict) -> dict:
    """The error of a kernel on fresh data; listed channels only, where only those are written."""
    made = operands(case)
    nothing = 201 if case["dtype"] == "uint8" else float("nan")
    y = torch.full(case["y"], nothing, dtype=DTYPES[case["dtype"]], device=timing.DEVICE)
    launcher(library, case, schedule, made, y)()
    timing.synchronize()
    expected, actual = reference(case, made).double(), y.double()
    if "pi" in made:
        listed = (made["pi"] > 0)[:, None, None].expand_as(expected)
        expected, actual = expected[listed], actual[listed]
    error = float((actual - expected).norm() / expected.norm())
    return {"error": error, "ok": error <= TOLERANCE[case["format"]]}  # NaN is not ok
