"""Every operator that `from_torch` takes, against torch, through a build for a CPU."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable

import numpy as np
import pytest
from models import UNOPTIMIZED

import espalier
from espalier.core.errors import UnsupportedOpError

torch = pytest.importorskip("torch")
from espalier.frontend.torch_operators import OperatorImporter  # noqa: E402

nn, F = torch.nn, torch.nn.functional


def _inputs() -> dict:
    """What cases call their arguments: sizes are odd and differ, values have both signs."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator) * 1.5

    def integers(low, high, *shape, dtype=torch.int64):
        return torch.randint(low, high, shape, generator=generator).to(dtype)

    return {
        "x": normal(3, 5),
        "y": normal(3, 5),
        "row": normal(5),
        "column": normal(3, 1),
        "positive": torch.rand(3, 5, generator=generator) + 0.1,
        "unit": torch.rand(3, 5, generator=generator) * 1.8 - 0.9,
        "special": torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3e38]),
        "infinite": torch.tensor([math.inf, -math.inf, 0.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3e38]),
        "ties": torch.tensor([[1.0, 3.0, 3.0, -2.0, 1.0], [0.0, -0.0, 0.0, -1.0, -1.0], [2.0, 2.0, 2.0, 2.0, 2.0]]),
        "double": normal(3, 5).double(),
        "n": integers(-7, 8, 3, 5),
        "divisor": torch.tensor([[-3, -2, -1, 1, 2], [3, 4, 5, -5, -4], [7, -7, 2, -2, 3]]),
        "n32": integers(-7, 8, 3, 5, dtype=torch.int32),
        "bytes": integers(0, 256, 3, 5, dtype=torch.uint8),
        "flags": integers(0, 2, 3, 5, dtype=torch.bool),
        "classes": torch.tensor([[0, 3, 1], [6, 2, 5]]),
        "columns": torch.tensor([0, -1, 4, -5]),
        "square": normal(5, 5),
        "cube": normal(3, 4, 5),
        "sequence": normal(2, 3, 5),
        "signal": normal(2, 4, 11),
        "image": normal(2, 4, 7, 9),
        "volume": normal(1, 4, 5, 6, 7),
        "grid": torch.rand(2, 3, 5, 2, generator=generator) * 2.6 - 1.3,
        "theta": normal(2, 2, 3),
    }


INPUTS = _inputs()


def _on(argument: str, call: Callable, **options) -> Callable:
    """A case that calls a function or a module with one of the inputs."""
    case = functools.partial(call, **options)
    case.takes = [argument]
    return case


def _arguments(case: Callable) -> list[str]:
    return getattr(case, "takes", None) or list(inspect.signature(case).parameters)


def _named(argument: str, names: str) -> dict:
    return {name: _on(argument, getattr(torch, name)) for name in names.split()}


def _grid_sample(*options) -> Callable:
    return lambda image, grid: F.grid_sample(image, grid, *options)


def _written(x):
    x = x.clone()
    x[1:, ::2] = 0.5
    x[0] += 1
    return x


def _written_at(cube, x):
    cube = cube.clone()
    cube[:, torch.tensor([0, -1])] = x[:2]
    cube[torch.tensor([1]), :, torch.tensor([-1])] += 1
    return cube


def _written_where(cube):
    cube = cube.clone()
    cube[cube > 0] = 0.5
    cube[torch.tensor([True, False, False])] = 2
    return cube


def _copied_over(x, row):
    doubled = x * 2
    return doubled.copy_(row), x * 2


def _shared(cube):
    index = torch.tensor([-1, 0])
    return cube[index, index], cube[index] + 1, index + 1


UNARY = {
    **_named("x", "abs neg ceil floor trunc round sign sigmoid tanh exp expm1 sin cos tan sinh cosh asinh atan erf"),
    **_named("x", "square relu frac sgn"),
    **_named("positive", "log log2 log10 log1p sqrt rsqrt reciprocal"),
    **_named("unit", "asin acos atanh"),
    "acosh": lambda positive: torch.acosh(positive + 1),
}
SPECIAL = {
    **_named("special", "abs neg ceil floor trunc round sign sigmoid tanh exp expm1 erf square isnan isinf isfinite"),
    **_named("special", "sqrt rsqrt reciprocal log log1p log2 log10 atan cos sin isneginf isposinf logical_not"),
    **{f"F.{f.__name__}": _on("special", f) for f in (F.silu, F.leaky_relu, F.softsign, F.logsigmoid, F.tanhshrink)},
    **{f"F.{f.__name__}": _on("infinite", f) for f in (F.relu, F.elu, F.selu, F.celu, F.hardtanh, F.hardsigmoid)},
    **{f"F.{f.__name__}": _on("infinite", f) for f in (F.relu6, F.mish, F.hardswish, F.softplus, F.softshrink)},
    "softmax": lambda special: F.softmax(special, 0),
    "clamp": lambda infinite: (infinite.clamp(-1, 1), infinite.clamp(min=0.25), infinite.clamp(max=0.25)),
    "max": lambda infinite: (infinite.max(), infinite.min(), infinite.argmax(), infinite.argmin(), infinite.max(0)),
    "maximum": lambda infinite: torch.maximum(infinite, infinite.flip(0)),
    "minimum": lambda infinite: torch.minimum(infinite, infinite.flip(0)),
    "max_pool": lambda infinite: F.max_pool1d(infinite[None, None], 3, 1, 1),
    "compare": lambda special: (special > 0.5, special >= 0.5, special < 0.5, special <= 0.5, special == 0.5),
    "differ": lambda special: (special != 0.5, special == special, special != special, special != special.flip(0)),
    "nan_to_num": lambda special: special.nan_to_num(1.0),
    "any": lambda special: special.any(0),
    "bool": lambda special: special.bool(),
    "round decimals": lambda special: special.round(decimals=1),
    "pow": lambda special: (special.pow(2), special.pow(3), special.pow(-1)),
    "fmod": lambda special: torch.fmod(special, 2.0),
    "remainder": lambda special: torch.remainder(special, 2.0),
    "atan2": lambda special: torch.atan2(special, special.flip(0)),
    "logaddexp": lambda special: torch.logaddexp(special, special.flip(0)),
}
ACTIVATIONS = {
    "gelu": lambda x: F.gelu(x),
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hardtanh": lambda x: F.hardtanh(x, -0.1, 0.2),
    "hardsigmoid": lambda x: F.hardsigmoid(3 * x),
    "hardswish": lambda x: F.hardswish(3 * x),
    "softplus": lambda x: F.softplus(x),
    "softplus beta": lambda x: F.softplus(x, 2.5, 1.0),
    "leaky": lambda x: F.leaky_relu(x, 0.3),
    "leaky negative": lambda x: F.leaky_relu(x, -0.3),
    "elu": lambda x: F.elu(x, 1.7),
    "elu negative": lambda x: F.elu(x, -0.7),
    "celu": lambda x: F.celu(x, 1.7),
    "selu": lambda x: F.selu(x),
    "silu": lambda x: F.silu(x),
    "mish": lambda x: F.mish(x),
    "relu6": lambda x: F.relu6(4 * x),
    "threshold": lambda x: F.threshold(x, 0.2, -3.0),
    "softshrink": lambda x: F.softshrink(x, 0.3),
    "hardshrink": lambda x: F.hardshrink(x, 0.3),
    "tanhshrink": lambda x: F.tanhshrink(x),
    "softsign": lambda x: F.softsign(x),
    "logsigmoid": lambda x: F.logsigmoid(x),
    "glu": lambda cube: F.glu(cube, 1),
    "prelu": _on("image", nn.PReLU()),
    "prelu channels": _on("image", nn.PReLU(4, 0.3)),
    "prelu tensor": lambda x, row: F.prelu(x, row),
    "softmax": lambda cube: (F.softmax(cube, 0), F.softmax(cube, 1), F.softmax(cube, -1)),
    "softmax double": lambda x: F.softmax(x, 1, dtype=torch.float64),
    "log_softmax": lambda cube: (F.log_softmax(cube, 0), F.log_softmax(cube, -2)),
    "softmin": lambda x: F.softmin(x, 0),
    "dropout": lambda x: F.dropout(x, training=False),
    "sigmoid double": lambda double: torch.sigmoid(double),
    "relu integers": lambda n: torch.relu(n),
    "relu in place": lambda x: F.relu_(x.clone()),
    "hardtanh in place": lambda x: F.hardtanh_(x.clone()),
    "logit": lambda unit: torch.logit(unit, eps=1e-3),
}
BINARY = {
    "add": lambda x, y, row, column: (x + y, x + row, row + column, x + 2, 2 + x, x + 0.5),
    "add alpha": lambda x, y: (torch.add(x, y, alpha=0.3), torch.add(x, 2, alpha=0.3)),
    "sub": lambda x, row: (x - row, x - 2, 2 - x, torch.ops.aten.sub.Scalar(x, 2), torch.ops.aten.div.Scalar(x, 3)),
    "sub alpha": lambda x, y: (torch.sub(x, y, alpha=0.3), torch.sub(x, 2, alpha=0.3)),
    "rsub": lambda x, y: (torch.rsub(x, y), torch.rsub(x, 3), torch.rsub(x, 3, alpha=2), torch.rsub(x, y, alpha=0.3)),
    "mul": lambda x, column: (x * column, x * 2, 0.5 * x),
    "div": lambda x, positive: (x / positive, x / 3, 2 / positive),
    "div modes": lambda x, positive: tuple(
        torch.div(a, b, rounding_mode=mode)
        for a, b in ((x, positive), (x, 0.7), (x, -2))
        for mode in (None, "trunc", "floor")
    ),
    "floor_divide": lambda x, positive: (x // positive, x // 0.7, x // -2),
    "remainder": lambda x, positive: (x % positive, x % 0.7, x % -2, torch.remainder(x * 0 + 1, 0.1)),
    "fmod": lambda x, positive: (torch.fmod(x, positive), torch.fmod(x, 0.7), torch.fmod(x, -2)),
    "pow": lambda x, y, positive: (positive**y, x**2, x**3, x**-2, 2.0**x, positive**0.5, positive**0.3, x**0, x**1),
    "pow negative": lambda x: x ** torch.tensor([1.0, 2.0, 3.0, -1.0, 0.0]),
    "atan2": lambda x, y: torch.atan2(x, y),
    "maximum": lambda x, row: (torch.maximum(x, row), torch.minimum(x, row), torch.max(x, row), torch.min(x, row)),
    "logaddexp": lambda x, y: torch.logaddexp(x, y),
    "xlogy": lambda x, positive: torch.xlogy(x, positive),
    "compare": lambda x, y, row: (x > y, x >= row, x < y, x <= y, x == y, x != row, x > 0.5, x == 0, x <= 1),
    "lerp": lambda x, y: torch.lerp(x, y, 0.3),
    "addcmul": lambda x, y: (torch.addcmul(x, y, y, value=0.3), torch.addcdiv(x, y, y.abs() + 1, value=0.3)),
    "where": lambda x, y, row, flags: (
        torch.where(flags, x, y),
        torch.where(x > 0, row, 0.0),
        torch.where(flags, 1.5, x),
    ),
    "masked_fill": lambda x, flags: (
        x.masked_fill(flags, -math.inf),
        x.masked_fill(flags, 2),
        x.masked_fill(flags[0], 0.5),
    ),
    "clamp": lambda x: (
        x.clamp(-0.5, 0.7),
        x.clamp(min=0.1),
        x.clamp(max=0.1),
        x.clamp(0.7, -0.5),
        x.clamp_min(0.1),
        x.clamp_max(0.2),
    ),
    "clamp tensors": lambda x, y, row: (x.clamp(row, row + 1), x.clamp(min=y), x.clamp(max=row), row.clamp(min=y)),
    "in place": lambda x, y: x.clone().add_(y, alpha=0.3).mul_(y).sub_(2).div_(3).clamp_(-1, 1),
    "double": lambda double: (
        double + 1.5,
        double * double,
        double / 3,
        2 - double,
        double.clamp(min=0.1),
        double > 0.1,
        1 / double,
    ),
    "promoted": lambda x, double, n: (x + double, x * n, n - x, double / n, x / n, torch.maximum(x, n)),
    "dist": lambda x, y: (F.l1_loss(x, y), F.mse_loss(x, y), F.smooth_l1_loss(x, y)),
}
INTEGERS = {
    "add": lambda n, divisor, n32: (n + divisor, n + 2, n + n32, n32 + 3, torch.add(n, divisor, alpha=3)),
    "sub": lambda n, divisor: (n - divisor, 3 - n, torch.sub(n, divisor, alpha=2), torch.rsub(n, divisor, alpha=2)),
    "with floats": lambda n, n32, bytes: (n + 1.5, n * 0.5, 2.5 - n, n32 * 0.5, bytes / 2, bytes * 0.25),
    "true division": lambda n, divisor, n32: (n / divisor, n / 3, 3 / divisor, n32 / 2, n / n32.abs().clamp(min=1)),
    "division modes": lambda n, divisor, n32: (
        *(torch.div(n, divisor, rounding_mode=mode) for mode in ("trunc", "floor")),
        *(torch.div(n, 3, rounding_mode=mode) for mode in ("trunc", "floor")),
        *(torch.div(n32, -2, rounding_mode=mode) for mode in ("trunc", "floor")),
        torch.div(n, 1.5, rounding_mode="floor"),
    ),
    "floor_divide": lambda n, divisor: (n // divisor, n // 3, n // -2, 20 // divisor),
    "remainder": lambda n, divisor: (n % divisor, n % 3, n % -3),
    "fmod": lambda n, divisor: (torch.fmod(n, divisor), torch.fmod(n, 3), torch.fmod(n, -3)),
    "pow": lambda n, n32: (n**2, n**3, n**0, n**1, n32**2, n.abs() ** 1.5),
    "compare": lambda n, divisor, n32: (n > divisor, n == 3, n > 0.5, n < -0.5, n >= 2.5, n == n32, n != 2.5, n <= n32),
    "bits": lambda n, divisor: (n & divisor, n | divisor, n ^ divisor, ~n, n & 3, n | 4, n ^ 5, 3 & n),
    "bits of flags": lambda flags: (
        flags & flags.flip(0),
        flags | flags.flip(0),
        flags ^ flags.flip(1),
        ~flags,
        flags & True,
    ),
    "logic": lambda n, x, flags: (
        torch.logical_not(n),
        torch.logical_and(n, flags),
        torch.logical_or(x, n),
        torch.logical_xor(n, flags),
        torch.logical_not(flags),
    ),
    "flags as numbers": lambda flags, n, x: (flags + 1, flags * n, flags * x, flags + 1.5, flags.sum(), flags + flags),
    "clamp": lambda n, n32: (
        n.clamp(-2, 3),
        n.clamp(min=1),
        n.clamp(max=1),
        n32.clamp(min=0),
        n.clamp(max=1.5),
        n.clamp(min=n32),
    ),
    "unary": lambda n, n32: (
        n.abs(),
        -n,
        n.sign(),
        n.float(),
        n32.square(),
        n.relu(),
        n.floor(),
        n.round(),
        n.trunc(),
        n.ceil(),
    ),
    "to float": lambda n: (
        n.sigmoid(),
        n.exp(),
        n.abs().sqrt(),
        n.cos(),
        n.tanh(),
        n.reciprocal(),
        (n.abs() + 1).log(),
        (n.abs() + 1).rsqrt(),
        n.erf(),
        n.atan(),
        n.expm1(),
        (n.abs() + 1).log2(),
        (n.abs() + 1).log1p(),
        n.sinh(),
        torch.atan2(n, n.flip(0)),
        n.isnan(),
        n.isfinite(),
        n.isinf(),
    ),
    "casts": lambda n, x, flags: (
        n.to(torch.int8),
        n.to(torch.uint8),
        n.int(),
        n.double(),
        n.bool(),
        x.bool(),
        (x * 3).int(),
        (x * 3).to(torch.int8),
        flags.float(),
        flags.long(),
    ),
    "type_as": lambda n, x: n.type_as(x),
    "maximum": lambda n, divisor, n32: (torch.maximum(n, divisor), torch.minimum(n, n32), n.max(), n.min()),
    "where": lambda n, x, flags, n32: (
        torch.where(flags, n, 0),
        torch.where(flags, n, n32),
        torch.where(flags, n, 0.5),
        torch.where(flags, n, x),
    ),
    "masked_fill": lambda n, flags: (n.masked_fill(flags, 9), flags.masked_fill(flags.flip(0), True)),
    "sums": lambda n, n32, bytes, flags: (
        n.sum(),
        n32.sum(1),
        bytes.sum(0),
        flags.sum(1),
        n.prod(),
        n32.prod(),
        flags.prod(),
        n.sum(dtype=torch.float32),
    ),
    "mean": lambda n, flags: (n.mean(dtype=torch.float32), n.mean(1, dtype=torch.float64), flags.float().mean()),
    "any": lambda n, x, flags: (
        n.any(1),
        flags.any(0, keepdim=True),
        n.all(1),
        flags.all(0),
        x.any(1),
        (n > 9).any(1),
        n.any((0, 1)),
    ),
    "argmax": lambda n: (n.argmax(), n.argmin(1), n.argmax(0, keepdim=True)),
    "isin": lambda n: torch.isin(n, torch.tensor([1, -2, 5])),
    "one_hot": lambda classes: (F.one_hot(classes, 7), F.one_hot(classes[0], 9)),
    "cumsum": lambda n, n32, flags: (n.cumsum(1), n32.cumsum(0), flags.cumsum(1), n.cumprod(1)),
    "bucketize": lambda n: torch.bucketize(n, torch.tensor([-3, 0, 2, 4])),
    "matmul": lambda n: n @ n.t(),
    "max_pool": lambda n: F.max_pool1d(n.float(), 2),
}
REDUCTIONS = {
    "sum": lambda cube: (
        cube.sum(),
        cube.sum(1),
        cube.sum((0, 2)),
        cube.sum(-1, keepdim=True),
        cube.sum(1, dtype=torch.float64),
    ),
    "mean": lambda cube: (cube.mean(), cube.mean(1), cube.mean((0, -1), keepdim=True), cube.mean(-2)),
    "prod": lambda x: x.prod(),
    "max": lambda cube: (cube.max(), cube.min()),
    "max dim": lambda x: (x.max(1), x.max(-1, keepdim=True)),
    "max dim ties": lambda ties: ties.max(1),
    "argmax": lambda cube: (
        cube.argmax(),
        cube.argmin(),
        cube.argmax(1),
        cube.argmin(-1, keepdim=True),
        cube.argmax(keepdim=True),
    ),
    "argmax ties": lambda ties: (ties.argmax(1), ties.argmin(1), ties.argmax(), ties.argmin(0)),
    "var": lambda cube: (
        cube.var(),
        cube.var(1),
        cube.var(1, unbiased=False),
        cube.var((0, 2), correction=2, keepdim=True),
        cube.var(-1, correction=0),
    ),
    "std": lambda cube: (
        cube.std(),
        cube.std((0, 1)),
        torch.std(cube, 1, correction=2),
        cube.std(2, unbiased=False, keepdim=True),
    ),
    "norm": lambda x: (
        x.norm(),
        x.norm(dim=1),
        x.norm(1, dim=0),
        x.norm(3.5, dim=1, keepdim=True),
        x.norm(math.inf, dim=1),
        x.norm(-math.inf),
        x.norm(math.inf),
    ),
    "norm 0": lambda ties: torch.linalg.vector_norm(ties, 0, dim=1),
    "norm -1": lambda positive: torch.linalg.vector_norm(positive, -1, dim=1),
    "matrix norm": lambda x: torch.linalg.matrix_norm(x),
    "normalize": lambda x: (F.normalize(x), F.normalize(x, p=1, dim=0)),
    "cosine": lambda x, y: (F.cosine_similarity(x, y), F.pairwise_distance(x, y)),
    "any": lambda ties: (ties.any(1), ties.all(1), ties.any(0, keepdim=True)),
    "of special": lambda special: (special.sum(), special.mean(), special.prod()),
    "count_nonzero": lambda ties: torch.count_nonzero(ties, 1),
    "trace": lambda square: torch.trace(square),
    "cross_entropy": lambda x: F.cross_entropy(x, torch.tensor([4, 0, 2])),
    "nll ignored": lambda x: F.cross_entropy(x, torch.tensor([4, -100, 2]), reduction="sum"),
}
MATMULS = {
    "mm": lambda x, square: (x @ square, torch.mm(x, square), x.mm(x.t())),
    "matmul": lambda cube, square, row, x: (
        cube @ square,
        cube @ row,
        row @ row,
        x @ row,
        row @ square,
        torch.matmul(cube[:, None], cube.transpose(1, 2)),
    ),
    "matmul double": lambda double: double @ double.t(),
    "bmm": lambda cube: (
        torch.bmm(cube, cube.transpose(1, 2)),
        torch.baddbmm(cube[:, :, :4], cube, cube.transpose(1, 2), beta=0.3, alpha=0.7),
    ),
    "addmm": lambda row, x, square: (
        torch.addmm(row, x, square),
        torch.addmm(row, x, square, beta=0.3, alpha=0.7),
        torch.addmm(row, x, square, beta=0),
    ),
    "linear": _on("cube", nn.Linear(5, 7)),
    "linear without bias": _on("row", nn.Linear(5, 7, bias=False)),
    "outer": lambda row: (torch.outer(row, row), torch.ger(row, row)),
    "einsum": lambda cube, square, x: (
        torch.einsum("abc,cd->abd", cube, square),
        torch.einsum("abc,abd->acd", cube, cube),
        torch.einsum("ii->i", square),
        torch.einsum("ii->", square),
        torch.einsum("ab,cb->ca", x, square),
        torch.einsum("...c,c->...", cube, square[0]),
        torch.einsum("ab->", x),
    ),
    "tensordot": lambda cube, x: torch.tensordot(cube, x, dims=([0, 2], [0, 1])),
    "kron": lambda x, square: torch.kron(x, square),
    "attention": lambda cube: F.scaled_dot_product_attention(cube[:, None], cube[:, None], cube[:, None]),
    "attention causal": lambda image: F.scaled_dot_product_attention(image, image, image, is_causal=True, scale=0.7),
    "attention masked": lambda image: F.scaled_dot_product_attention(
        image, image, image, attn_mask=torch.ones(7, 7).tril().bool()
    ),
    "attention biased": lambda image: F.scaled_dot_product_attention(
        image, image[:, :, :5], image[:, :, :5], attn_mask=torch.linspace(-1, 1, 35).view(7, 5)
    ),
    "multi-head": lambda cube: F.multi_head_attention_forward(
        cube,
        cube,
        cube,
        5,
        1,
        torch.linspace(-1, 1, 75).view(15, 5),
        torch.linspace(-1, 1, 15),
        None,
        None,
        False,
        0.0,
        torch.eye(5),
        None,
        training=False,
        need_weights=True,
    ),
    "cross": lambda cube: torch.linalg.cross(cube[:, :3], cube[:, 1:], dim=1),
}
CONVOLUTIONS = {
    "conv1d": _on("signal", nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2)),
    "conv1d same": _on("signal", nn.Conv1d(4, 6, 4, padding="same")),
    "conv2d": _on("image", nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)),
    "conv2d depthwise": _on("image", nn.Conv2d(4, 8, 3, padding=1, groups=4, bias=False)),
    "conv2d same": _on("image", nn.Conv2d(4, 6, (2, 4), padding="same")),
    "conv2d valid": _on("image", nn.Conv2d(4, 6, 3, padding="valid")),
    **{
        f"conv2d {mode}": _on("image", nn.Conv2d(4, 6, 3, padding=(1, 2), padding_mode=mode))
        for mode in ("reflect", "replicate", "circular")
    },
    "conv2d unbatched": _on("cube", nn.Conv2d(3, 2, 3)),
    "conv3d": _on("volume", nn.Conv3d(4, 2, (1, 2, 3), stride=(1, 2, 1), padding=1, groups=2)),
    "transposed 1d": _on("signal", nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1)),
    "transposed 1d groups": _on("signal", nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2)),
    "transposed 1d dilation": _on("signal", nn.ConvTranspose1d(4, 6, 3, stride=2, dilation=2)),
    "transposed 2d": _on(
        "image", nn.ConvTranspose2d(4, 6, (3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 2))
    ),
    "transposed 2d groups": _on("image", nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, bias=False)),
    "transposed 2d dilation": _on("image", nn.ConvTranspose2d(4, 6, 3, stride=2, dilation=2)),
    "unfold": lambda image: F.unfold(image, (3, 2), padding=1, stride=2),
    "lstm": _on("sequence", nn.LSTM(5, 3, batch_first=True, bidirectional=True)),
    "gru": _on("sequence", nn.GRU(5, 3, bidirectional=True, batch_first=True)),
    "rnn relu": _on("sequence", nn.RNN(5, 3, nonlinearity="relu")),
    "lstm cell": _on("x", nn.LSTMCell(5, 3)),
}
POOLS = {
    **{
        f"max_pool {options}": _on("image", F.max_pool2d, **options)
        for options in (
            {"kernel_size": 3},
            {"kernel_size": (3, 2), "stride": (1, 2), "padding": 1},
            {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
            {"kernel_size": 2, "stride": 4, "ceil_mode": True},
            {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
            {"kernel_size": 2, "dilation": (2, 3)},
            {"kernel_size": 3, "stride": 2, "dilation": 2, "padding": 1, "ceil_mode": True},
        )
    },
    "max_pool1d": lambda signal: (
        F.max_pool1d(signal, 3),
        F.max_pool1d(signal, 3, 2, 1, ceil_mode=True),
        F.max_pool1d(signal, 2, dilation=3),
    ),
    "max_pool3d": lambda volume: (
        F.max_pool3d(volume, 2),
        F.max_pool3d(volume, (1, 2, 3), (2, 2, 1), (0, 1, 1), ceil_mode=True),
    ),
    "max_pool unbatched": lambda cube: F.max_pool2d(cube, 2),
    **{
        f"avg_pool {options}": _on("image", F.avg_pool2d, **options)
        for options in (
            {"kernel_size": 3},
            {"kernel_size": (3, 2), "stride": (1, 2), "padding": 1},
            {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
            {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
            {"kernel_size": 2, "stride": 2, "ceil_mode": True},
            {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
            {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False},
            {"kernel_size": 2, "stride": 4, "ceil_mode": True},
        )
    },
    "avg_pool1d": lambda signal: (
        F.avg_pool1d(signal, 3),
        F.avg_pool1d(signal, 3, 2, 1, ceil_mode=True, count_include_pad=False),
        F.avg_pool1d(signal, 2, 2, ceil_mode=True),
    ),
    "avg_pool3d": lambda volume: (
        F.avg_pool3d(volume, 2),
        F.avg_pool3d(volume, (1, 2, 3), (2, 2, 1), (0, 1, 1), count_include_pad=False),
        F.avg_pool3d(volume, 2, ceil_mode=True),
    ),
    "avg_pool unbatched": lambda cube: F.avg_pool2d(cube, 2),
    "lp_pool": lambda image: F.lp_pool2d(image.abs(), 2, 2),
    "adaptive": lambda image, signal, volume: (
        F.adaptive_avg_pool2d(image, 1),
        F.adaptive_avg_pool2d(image, (3, 4)),
        F.adaptive_avg_pool2d(image, (7, 9)),
        F.adaptive_avg_pool2d(image, (None, 2)),
        F.adaptive_avg_pool1d(signal, 4),
        F.adaptive_avg_pool3d(volume, (2, 3, 4)),
    ),
    "adaptive larger": lambda image: F.adaptive_avg_pool2d(image, (8, 11)),
    "adaptive unbatched": lambda cube: F.adaptive_avg_pool2d(cube, 2),
}
NORMS = {
    "batch": _on("image", nn.BatchNorm2d(4, eps=0.1)),
    "batch no affine": _on("image", nn.BatchNorm2d(4, affine=False)),
    "batch no stats": _on("image", nn.BatchNorm2d(4, track_running_stats=False)),
    "batch 1d": _on("x", nn.BatchNorm1d(5)),
    "layer": _on("cube", nn.LayerNorm(5, eps=0.1)),
    "layer no affine": _on("cube", nn.LayerNorm((4, 5), elementwise_affine=False)),
    "layer no bias": _on("cube", nn.LayerNorm(5, bias=False)),
    "group": _on("image", nn.GroupNorm(2, 4, eps=0.1)),
    "group no affine": _on("image", nn.GroupNorm(2, 4, affine=False)),
    "group 1d": _on("signal", nn.GroupNorm(4, 4)),
    "instance": _on("image", nn.InstanceNorm2d(4, eps=0.1)),
    "instance affine": _on("image", nn.InstanceNorm2d(4, affine=True)),
    "instance stats": _on("image", nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
    "instance 1d": _on("signal", nn.InstanceNorm1d(4)),
    "rms": _on("cube", nn.RMSNorm(5)),
    "local response": _on("image", nn.LocalResponseNorm(3)),
    "weight norm": _on("x", nn.utils.parametrizations.weight_norm(nn.Linear(5, 3))),
}
RESIZES = (
    {
        f"{mode} {options}": _on("image", F.interpolate, mode=mode, **options)
        for mode in ("nearest", "bilinear")
        for options in (
            {"scale_factor": 2},
            {"scale_factor": 1.3},
            {"scale_factor": (0.4, 2.5)},
            {"scale_factor": 1.3, "recompute_scale_factor": True},
            {"size": (11, 5)},
            {"size": (7, 18)},
            {"scale_factor": (1.05, 2.05)},
        )
    }
    | {
        f"{mode} {options}": _on("image", F.interpolate, mode=mode, **options)
        for mode in ("area", "nearest-exact")
        for options in ({"scale_factor": 1.3}, {"size": (11, 5)})
    }
    | {
        f"bilinear aligned {options}": _on("image", F.interpolate, mode="bilinear", align_corners=True, **options)
        for options in ({"scale_factor": 1.3}, {"size": (11, 5)}, {"size": (1, 2)}, {"size": (7, 18)})
    }
    | {
        "antialias bilinear": lambda image: F.interpolate(image, size=(3, 4), mode="bilinear", antialias=True),
        "antialias larger": lambda image: F.interpolate(image, scale_factor=1.7, mode="bilinear", antialias=True),
        "1d nearest": lambda signal: F.interpolate(signal, scale_factor=1.3),
        "1d linear": lambda signal: F.interpolate(signal, scale_factor=2, mode="linear"),
        "3d nearest": lambda volume: F.interpolate(volume, scale_factor=2),
        **{
            f"grid_sample {options}": _grid_sample(*options)
            for options in (
                ("bilinear", "zeros", False),
                ("bilinear", "border", True),
                ("bilinear", "reflection", False),
                ("nearest", "reflection", True),
            )
        },
        "affine_grid": lambda theta: (
            F.affine_grid(theta, (2, 4, 3, 5), align_corners=False),
            F.affine_grid(theta, (2, 4, 3, 5), align_corners=True),
        ),
        "pixel_shuffle": lambda image: (
            F.pixel_shuffle(image, 2),
            F.pixel_unshuffle(image[:, :, :6, :6], 3),
            F.channel_shuffle(image, 2),
        ),
    }
)
SHAPES = {
    "pad": lambda image: (F.pad(image, (1, 2)), F.pad(image, (0, 1, 2, 0), value=1.5), F.pad(image, (-1, 2, 1, -2))),
    **{
        f"pad {mode}": _on("image", F.pad, pad=(1, 2, 3, 0), mode=mode) for mode in ("reflect", "replicate", "circular")
    },
    "pad 1d": lambda signal: (
        F.pad(signal, (2, 1), mode="reflect"),
        F.pad(signal, (2, 1), mode="replicate"),
        F.pad(signal, (2, 1), mode="circular"),
    ),
    "pad integers": lambda n: F.pad(n, (1, 2), value=3),
    "cat": lambda x, y, n: (torch.cat([x, y]), torch.cat([x, y, x], -1), torch.cat([x, n])),
    "stack": lambda x, y: (torch.stack([x, y]), torch.stack([x, y], -1), torch.hstack([x, y]), torch.dstack([x, y])),
    "split": lambda x: (
        x.split(2, 1),
        x.split([1, 4], -1),
        x.split(3),
        x.chunk(2, 1),
        x.chunk(4, 1),
        x.tensor_split(3, 1),
    ),
    "unbind": lambda x: (x.unbind(), x.unbind(-1)),
    "select": lambda cube: (cube[0], cube[:, -1], cube[..., 2], cube.select(-1, -2), cube[1, 2, 3]),
    "slice": lambda cube: (
        cube[1:],
        cube[:, -3:-1],
        cube[..., ::2],
        cube[:, 1:100:3],
        cube[5:],
        cube[:-1, :, 1:4:2],
        cube.narrow(1, 1, 2),
    ),
    "squeeze": lambda column, cube: (
        column.squeeze(),
        column.squeeze(1),
        column.squeeze(0),
        column[None].squeeze((0, 2)),
        cube.squeeze(),
    ),
    "unsqueeze": lambda x: (x.unsqueeze(0), x.unsqueeze(-1), x[:, None]),
    "expand": lambda column, row: (
        column.expand(3, 4),
        column.expand(2, -1, 4),
        row.expand(3, 5),
        row.broadcast_to(2, 5),
        column.expand_as(torch.zeros(3, 2)),
    ),
    "repeat": lambda x: (x.repeat(2, 3), x.repeat(2, 1, 1), x.tile(2), x.repeat_interleave(2, 1)),
    "permute": lambda cube: (
        cube.permute(2, 0, 1),
        cube.permute(-1, 0, 1),
        cube.transpose(0, -1),
        cube.movedim(0, 2),
        cube.mT,
        cube.swapaxes(0, 1),
    ),
    "reshape": lambda cube: (
        cube.reshape(4, -1),
        cube.view(3, 20),
        cube.flatten(1),
        cube.flatten(),
        cube.unflatten(1, (2, 2)),
        cube.ravel(),
        cube.reshape_as(torch.zeros(15, 4)),
    ),
    "reshape of permuted": lambda cube: (
        cube.permute(2, 0, 1).reshape(5, -1),
        cube.transpose(0, 1).contiguous().view(4, 15),
    ),
    "flip": lambda cube: (cube.flip(0), cube.flip(1, -1), cube.fliplr(), cube.rot90(1, (0, 1))),
    "roll": lambda cube: (cube.roll(2), cube.roll(1, 1), cube.roll((1, -2), (0, 2)), cube.roll(7, -1)),
    "tril": lambda square, x: (square.tril(), square.triu(1), x.tril(-1), x.triu(-1)),
    "diagonal": lambda square, cube: (
        square.diagonal(),
        cube.diagonal(1, 0, 2),
        square.diag(),
        square.diagonal(-1),
        square[0].diag(),
        cube.diagonal(dim1=-2, dim2=-1),
    ),
    "meshgrid": lambda row, column: (
        *torch.meshgrid(row, column[:, 0], indexing="ij"),
        *torch.meshgrid(row, column[:, 0], indexing="xy"),
    ),
    "as_strided": lambda x: (
        x.as_strided((5, 3), (3, 1)),
        x.as_strided((2, 2), (1, 2)),
        x.as_strided((2, 2), (1, 2), 1),
    ),
    "slice_scatter": lambda x: (
        torch.slice_scatter(x, x[:2] * 2, 0, 1),
        torch.slice_scatter(x, x[:, :2] * 2, 1, -4, -1, 2),
        torch.select_scatter(x, x[0] * 2, 0, 1),
    ),
    "written slice": lambda x: _written(x),
    "creation": lambda x: (
        x + torch.arange(5),
        x + torch.arange(1, 6, dtype=torch.float32),
        x * torch.arange(0.5, 3.0, 0.5),
        x + torch.linspace(0, 1, 5),
        x + torch.linspace(3, -1, 5),
        x @ torch.eye(5),
        x @ torch.eye(5, 4),
        x + torch.ones(5),
        torch.full_like(x, 3) + x,
        torch.zeros_like(x),
        torch.ones_like(x, dtype=torch.int64),
        x.new_ones(2, 3),
        x.new_zeros(2, dtype=torch.int32),
        x.new_full((2,), 3),
        torch.full((2, 3), 7),
        torch.full((2,), True),
        x.clone().fill_(2.0),
        x.clone().zero_(),
        torch.hamming_window(7),
        torch.hamming_window(7, False),
        torch.hamming_window(7, True, 0.5),
        torch.hamming_window(7, False, 0.5, 0.4),
        torch.hann_window(6),
        torch.tensor(1.5) * x,
        torch.scalar_tensor(2) + x,
        torch.logspace(0, 1, 3),
        torch.arange(5.0),
        torch.arange(7, 1, -2),
        torch.zeros(2, 3, dtype=torch.bool),
        torch.linspace(0, 1, 101),
        torch.linspace(0, 1, 1),
        torch.empty_like(x).fill_(1),
    ),
    "complex shapes": lambda image: image.view(2, 2, 2, 7, 9).transpose(1, 2).reshape(2, 4, 7, 9),
    "copied over": lambda x, row: _copied_over(x, row),
    "copy": lambda x, row: (x.clone().copy_(row), x.detach() + 1, x.clone(), x.contiguous()),
}


INDEXING = {
    "index": lambda cube, columns: (cube[..., columns], cube[columns[:1]]),
    "index negative": lambda x: (x[:, torch.tensor([-1, 0, 2])], x[torch.tensor([[-1, 0], [1, -3]])]),
    "index zipped": lambda x: x[torch.tensor([0, -1, 1]), torch.tensor([-1, 2, 3])],
    "index shared": lambda cube: (cube[:, torch.tensor([-1, 0]), torch.tensor([-1, 0])], _shared(cube)),
    "index broadcast": lambda cube: cube[torch.tensor([[0], [-1]]), torch.tensor([1, 0, -2])],
    "index apart": lambda cube: cube[torch.tensor([0, -1]), :, torch.tensor([1, -1])],
    "index after a slice": lambda cube: cube[:, torch.tensor([0, -1, 1]), torch.tensor([-1, 2, 3])],
    "index outer": lambda cube: cube[:, torch.tensor([[0], [-1]]), torch.tensor([1, 0, -2])],
    "index 4d": lambda image: image[:, :, torch.tensor([0, -1]), torch.tensor([2, -2])],
    "index matrix after a slice": lambda cube: cube[:, torch.tensor([[0, -1], [1, 2]])],
    "index narrow": lambda x, columns: x[:, columns.int()],
    "index scalar": lambda x: (x[torch.tensor(-1)], x[:, torch.tensor(2)]),
    "index bytes": lambda cube: cube[0][:, torch.tensor([1, 2])],
    "index_select": lambda x: (x.index_select(1, torch.tensor([4, 0])), x.index_select(0, torch.tensor(1))),
    "take": lambda x: (x.take(torch.tensor([0, 14, -1])), torch.take_along_dim(x, torch.tensor([[0], [1], [4]]), 1)),
    "gather": lambda x: (x.gather(1, torch.tensor([[0, 4], [1, 1], [2, 3]])), x.gather(0, torch.tensor([[0, 2, 1]]))),
    "embedding": lambda classes, image: F.embedding(classes, image[0, 0]),
    "embedding padded": _on("classes", nn.Embedding(7, 3, padding_idx=2)),
    "bucketize": lambda x: (
        torch.bucketize(x, torch.tensor([-1.0, 0.0, 1.0])),
        torch.bucketize(x, torch.tensor([-1.0, 0.0, 1.0]), right=True, out_int32=True),
    ),
    "bucketize ties": lambda ties: (
        torch.bucketize(ties, torch.tensor([-1.0, 0.0, 1.0])),
        torch.bucketize(ties, torch.tensor([-1.0, 0.0, 1.0]), right=True),
    ),
}


SORTS = {
    "topk": lambda x: (x.topk(2), x.topk(3, 0, largest=False), x.topk(1, 1)),
    "topk ties": lambda ties: ties.topk(2)[0],
    "sort": lambda x: (x.sort(), x.sort(0, descending=True)),
    "sort ties": lambda ties: ties.sort(),
    "argsort": lambda x: (x.argsort(), x.argsort(0, descending=True)),
    "cumsum": lambda x: (x.cumsum(1), x.cumsum(0, dtype=torch.float64), x.cumprod(1)),
    "median": lambda x: (x.median(), x.median(1)),
    "median even": lambda cube: cube.median(1),
}
SCATTERS = {
    "scatter": lambda x: (
        x.scatter(1, torch.tensor([[0, 1], [2, 3]]), 0.5),
        x.scatter(1, torch.tensor([[0, 1], [2, 3]]), x * 2),
    ),
    "index_put": lambda x, row: (
        x.index_put((torch.tensor([0, -1]), torch.tensor([-1, 2])), row[:2]),
        x.index_put((torch.tensor([0, 0]), torch.tensor([1, 1])), row[:2], accumulate=True),
    ),
    "index_put rows": lambda x, row, n: (
        x.index_put((torch.tensor([0, -1]),), row),
        n.index_put((n > 2,), torch.tensor(9)),
    ),
    "written parts": lambda cube, x: (_written_at(cube, x), _written_where(cube)),
    "fold": lambda signal: F.fold(signal[:, :, :6], (3, 4), 2),
}
GROUPS = {
    "unary": UNARY,
    "special": SPECIAL,
    "activations": ACTIVATIONS,
    "binary": BINARY,
    "integers": INTEGERS,
    "reductions": REDUCTIONS,
    "matmuls": MATMULS,
    "convolutions": CONVOLUTIONS,
    "pools": POOLS,
    "norms": NORMS,
    "resizes": RESIZES,
    "shapes": SHAPES,
    "indexing": INDEXING,
    "sorts": SORTS,
    "scatters": SCATTERS,
}

REFUSED = {
    "divisor": (lambda image: F.avg_pool2d(image, 2, divisor_override=3), "divisor_override=3"),
    "divisor 3d": (lambda volume: F.avg_pool3d(volume, 2, divisor_override=3), "divisor_override=3"),
    "pool indices": (lambda image: F.max_pool2d(image, 2, return_indices=True), "indices of the largest values"),
    "norm of another type": (lambda x: torch.linalg.vector_norm(x, 2, dtype=torch.float64), "gives float64"),
    "convolution of doubles": (lambda double: F.conv1d(double[None], double[:2, :3, None]), "gives float64"),
    "power of integers": (lambda n: n ** n.abs(), "exponent"),
    "power of two": (lambda n: 2 ** n.abs(), "exponent"),
    "as_strided of a transposed tensor": (lambda x: x.t().as_strided((3, 5), (5, 1)), "as_strided"),
    "flags as an index": (lambda x, flags: x[flags[:, 0]], "index of flags"),
    "values by flags": (lambda x, y: x.index_put((torch.tensor([True, False, True]),), y[:2]), "index of flags"),
    "item": (lambda x: x * x.sum().item(), "item"),
    "dropout": (lambda x: F.dropout(x, 0.5, True), "training"),
    "randn": (lambda x: x + torch.randn(3, 5), "unsupported operators: aten.randn"),
    "randn_like": (lambda x: torch.randn_like(x) + x, "unsupported operators: aten.randn_like"),
    "bernoulli": (lambda positive: torch.bernoulli(positive, 0.5), "unsupported operators: aten.bernoulli"),
    "cond": (lambda x: torch.cond(x.sum() > 0, lambda v: v + 1, lambda v: v - 1, (x,)), "unsupported operators: cond"),
    "exponential": (lambda x: x.clone().exponential_(), "unsupported operators: aten.exponential"),
}

WITHOUT_CASE = {
    "_assert_async.default": "left out, as _assert_async.msg of one_hot",
    "_assert_scalar.default": "of sizes that depend on the data",
    "_local_scalar_dense.default": "refused as item",
    "_native_batch_norm_legit_functional.default": "refused: batch norm in training",
    "_sparse_addmm.default": "of sparse tensors",
    "lift_fresh_copy.default": "of constants, which torch.export lifts",
    "masked_select.default": "its size depends on the data: `build` refuses it",
    "native_dropout.default": "refused as dropout in training",
    "sym_constrain_range_for_size.default": "of sizes that depend on the data",
}


class Cases(nn.Module):
    """All cases of a group in one module, whose inputs are those that they take, in the order of INPUTS."""

    def __init__(self, cases: dict):
        super().__init__()
        self.cases = cases
        self.layers = nn.ModuleList(
            case.func
            for case in cases.values()
            if isinstance(case, functools.partial) and isinstance(case.func, nn.Module)
        )
        taken = {argument for case in cases.values() for argument in _arguments(case)}
        self.names = [name for name in INPUTS if name in taken]

    def examples(self) -> tuple:
        return tuple(INPUTS[name] for name in self.names)

    def forward(self, *inputs):
        values = dict(zip(self.names, inputs))
        return {name: case(*(values[argument] for argument in _arguments(case))) for name, case in self.cases.items()}


@functools.cache
def _program(group: str):
    torch.manual_seed(0)
    module = Cases(GROUPS[group]).eval()
    return module, torch.export.export(module, module.examples()).run_decompositions()


def _differences(result: np.ndarray, expected: np.ndarray) -> str:
    if (result.dtype, result.shape) != (expected.dtype, expected.shape):
        return f"{result.dtype} {list(result.shape)} in place of {expected.dtype} {list(expected.shape)}"
    if np.allclose(result, expected, rtol=1e-4, atol=1e-5, equal_nan=True):
        return ""
    return f"{result} in place of {expected}"


@pytest.mark.parametrize("group", GROUPS)
def test_operators_compute_what_torch_does(group):
    module, program = _program(group)
    artifact = espalier.build(espalier.from_torch(program), UNOPTIMIZED)
    with torch.no_grad():
        expected = module(*module.examples())
    paths = torch.utils._pytree.tree_flatten_with_path(expected)[0]
    results = artifact(*(example.numpy() for example in module.examples()))
    assert len(results) == len(paths)
    found = {str(path): _differences(result, value.numpy()) for (path, value), result in zip(paths, results)}
    assert {path: difference for path, difference in found.items() if difference} == {}


def test_indices_beyond_an_axis_are_those_at_its_ends():
    """No memory of others is read or written; torch refuses them."""

    class Places(nn.Module):
        def forward(self, x, at):
            zeros = torch.zeros_like(x)
            rows = F.embedding(at, x), x[at], torch.index_select(x, 0, at), x.gather(0, at[:, None])
            return *rows, zeros.scatter(0, at[:, None], 1.0), zeros.scatter(0, at[:, None], x), zeros.index_put([at], x)

    x, inside, beyond = INPUTS["x"], torch.tensor([0, 2, 2]), torch.tensor([-90_000_000, 2, 90_000_000])
    artifact = espalier.build(espalier.from_torch(Places(), (x, inside)), target="llvm")
    for ours, theirs in zip(artifact(x.numpy(), beyond.numpy()), Places()(x, inside), strict=True):
        np.testing.assert_array_equal(ours, theirs.numpy())


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_wrong_is_refused(name):
    case, reason = REFUSED[name]
    module = Cases({name: case}).eval()
    with pytest.raises(UnsupportedOpError) as caught:
        espalier.from_torch(module, module.examples())
    assert reason in str(caught.value)
    assert "node" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_batch_norm_in_training_is_refused():
    module = nn.Sequential(nn.BatchNorm2d(4)).train()
    with pytest.raises(UnsupportedOpError, match=r"^node .*: batch norm is not supported in training"):
        espalier.from_torch(torch.export.export(module, (INPUTS["image"],)))


def _never_reaches_the_importer(name: str) -> bool:
    """Counts with sizes, which are numbers here; or torch lacks it, takes it apart or makes it functional."""
    operator, _, overload = name.partition(".")
    if not overload:
        return True
    known = getattr(getattr(torch.ops.aten, operator, None), overload, None)
    if known is None or known._schema.is_mutable or known in torch.export.default_decompositions():
        return True
    return torch._C._dispatch_has_kernel_for_dispatch_key(known.name(), "CompositeImplicitAutograd")


def test_every_operator_has_a_case():
    """A new TVM or torch that adds an operator fails here: give it a case, or say in WITHOUT_CASE why it has none."""
    graphs = [_program(group)[1].graph for group in GROUPS]
    reached = {node.target.__name__ for graph in graphs for node in graph.nodes if node.op == "call_function"}
    operators = OperatorImporter().convert_map
    missing = {name for name in operators if name not in reached and not _never_reaches_the_importer(name)}
    assert missing == WITHOUT_CASE.keys()
