"""Sums of products of unsigned and signed bytes in int32, exact on every instruction set."""

from __future__ import annotations

import dataclasses

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.core.layers import LayerSpec
from espalier.targets.cpu import Isa

from .emit import spread

QUAD = 4
"""Products that one 32-bit lane adds to its sum."""

_VNNI = "llvm.x86.avx512.vpdpbusd."
_PAIRS = {16: "llvm.x86.avx512.pmaddw.d.512", 8: "llvm.x86.avx2.pmadd.wd"}
_LOW_BYTES = 0x00FF00FF


def dot_quads(isa: Isa, total, x, weight):
    """int32 total + the four products of each lane; x and weight are int32 vectors of four uint8 and four int8.

    VPMADDUBSW would saturate, so without VNNI bytes are widened to pairs of 16 bits, and without those to 32.
    """
    lanes = int(total.ty.dtype.lanes)
    if lanes != isa.lanes or not isa.int8:
        return total + _four_products(x, weight, lanes)
    if isa.has_vnni:
        # LLVM declares the operands as bytes, unlike the intrinsic that comes with TVM.
        bytes_of_x, bytes_of_weight = (tirx.reinterpret(f"int8x{QUAD * lanes}", one) for one in (x, weight))
        name = f"{_VNNI}{32 * lanes}"
        return T.call_llvm_pure_intrin(f"int32x{lanes}", name, total, bytes_of_x, bytes_of_weight)
    words = f"int16x{2 * lanes}"
    mask, eight = spread(T.int32(_LOW_BYTES), lanes), spread(T.int16(8), 2 * lanes)
    pairs_of_x = (x & mask, (x >> spread(T.int32(8), lanes)) & mask)
    wide = tirx.reinterpret(words, weight)
    for one, other in zip(pairs_of_x, ((wide << eight) >> eight, wide >> eight)):
        product = T.call_llvm_pure_intrin(f"int32x{lanes}", _PAIRS[lanes], tirx.reinterpret(words, one), other)
        total = total + product
    return total


def _four_products(x, weight, lanes: int):
    def number(value: int):
        return spread(T.int32(value), lanes)

    products = [
        ((x >> number(8 * i)) & number(255)) * ((weight << number(24 - 8 * i)) >> number(24)) for i in range(QUAD)
    ]
    return products[0] + products[1] + (products[2] + products[3])


def as_kernels_take_it(spec: LayerSpec, isa: Isa) -> LayerSpec:
    """The layer with the arguments of kernels of bytes: always with a bias, and with the lists that they can skip by.

    Resting inputs are stored as 0, which is their zero point, so that a list of fewer than four channels may be
    ignored. Where winners are no whole vectors, every channel is computed, and a pi of 0 makes the others rest. Without
    a pi there is a mask of the winners instead: as pi where that gives the same, else for the outputs.
    """
    dropped, changes = set(), {}
    if spec.active and spec.active.granularity % QUAD:
        dropped.add("active")
        changes["active"] = None
    if spec.winners and spec.winners.granularity % isa.lanes:
        dropped.add("winners")
        changes["winners"] = None
    roles = [role for role in spec.roles if role not in dropped]
    if "winners" in dropped and "pi" not in roles:
        roles.append("pi" if _rests_by_pi(spec) else "mask")
    if "bias" not in roles:
        roles.append("bias")
    return dataclasses.replace(spec, roles=tuple(roles), **changes)


def _rests_by_pi(spec: LayerSpec) -> bool:
    """Whether channels whose sums are multiplied by 0 give what losing ones do."""
    one = spec.integer
    return "residual" not in spec.roles and one.low <= one.zero <= one.high
