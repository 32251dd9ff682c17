"""Layer values travel as JSON, and the cost formula gives FBS's published savings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.layers import (
    Activation,
    ActiveList,
    ChannelGateSpec,
    Conv2dSpec,
    DenseSpec,
    conv2d_macs,
    gate_macs,
    skipped_macs,
)
from espalier.core.plan import kept_groups

numbers = st.floats(allow_nan=False, width=32)
sizes = st.integers(1, 4096)
names = st.text(min_size=1, max_size=20)
lists = st.none() | st.builds(ActiveList, sizes, st.sampled_from([1, 4, 8, 16]))
roles = st.lists(st.sampled_from(["bias", "residual", "pi", "winners", "active"]), unique=True).map(
    lambda more: ("x", "weight", *more)
)
common = {
    "name": names,
    "roles": roles,
    "activation": st.builds(Activation, st.sampled_from(["none", "relu", "clip"]), numbers, numbers),
    "gate": st.sampled_from(["none", "branch", "output"]),
    "winners": lists,
    "active": lists,
}
pairs = st.tuples(sizes, sizes)
specs = st.one_of(
    st.builds(DenseSpec, **common),
    st.builds(Conv2dSpec, **common, strides=pairs, padding=st.tuples(*[sizes] * 4), dilation=pairs, groups=sizes),
    st.builds(ChannelGateSpec, names, st.sampled_from(["select", "boost"]), sizes, sizes, active=lists),
)


@given(specs)
def test_json_round_trip(spec):
    back = type(spec).from_json(spec.to_json())
    assert back == spec
    assert hash(back) == hash(spec)


@given(specs)
def test_arguments_are_appended(spec):
    more = spec.with_arguments("active", active=ActiveList(3, 8))
    assert more.roles == (*spec.roles, "active")
    assert more.active.channels == 24
    assert more.name == spec.name


def test_conv2d_macs_counts_groups():
    assert conv2d_macs((64, 3, 3, 3), (1, 64, 30, 30)) == 64 * 3 * 9 * 900
    assert conv2d_macs((32, 1, 3, 3), (1, 32, 10, 10)) == 32 * 9 * 100


# (input channels, output channels, kernel, output size) of each gated convolution
M_CIFARNET = (
    (3, 64, 3, 30),
    (64, 64, 3, 30),
    (64, 128, 3, 15),
    (128, 128, 3, 15),
    (128, 128, 3, 15),
    (128, 192, 3, 8),
    (192, 192, 3, 8),
    (192, 192, 3, 8),
)


def resnet18() -> list[tuple[int, int, int, int]]:
    """ImageNet's ResNet-18 with its 1x1 shortcuts."""
    convolutions = [(3, 64, 7, 112)]
    for c_in, c_out, size in ((64, 64, 56), (64, 128, 28), (128, 256, 14), (256, 512, 7)):
        convolutions += [(c_in, c_out, 3, size), *[(c_out, c_out, 3, size)] * 3]
        convolutions += [(c_in, c_out, 1, size)] if c_in != c_out else []
    return convolutions


def saving(convolutions, density: float) -> float:
    """Dense over done multiply-accumulates, all tensors but the image gated at one density."""
    dense = done = 0
    for c_in, c_out, kernel, size in convolutions:
        macs = conv2d_macs((c_out, c_in, kernel, kernel), (c_out, size, size))
        active_in = 1 if c_in == 3 else kept_groups(c_in, density, 1) / c_in
        dense += macs
        done += skipped_macs(macs, active_in, kept_groups(c_out, density, 1) / c_out)
        done += gate_macs(c_in, c_out, size * size)
    return dense / done


@pytest.mark.parametrize(
    ("convolutions", "density", "published"),
    [(M_CIFARNET, 0.5, 3.93), (M_CIFARNET, 0.7, 2.0), (resnet18(), 0.7, 1.98)],
    ids=["M-CifarNet 0.5", "M-CifarNet 0.7", "ResNet-18 0.7"],
)
def test_published_savings(convolutions, density, published):
    """Figures: Gao et al., ICLR 2019, as quoted by later papers' tables."""
    assert saving(convolutions, density) == pytest.approx(published, rel=0.015)


def test_dense_macs_of_the_networks():
    def total(convolutions):
        return sum(conv2d_macs((o, i, k, k), (o, s, s)) for i, o, k, s in convolutions)

    assert total(M_CIFARNET) == pytest.approx(174.3e6, rel=1e-3)
    assert total(resnet18()) == pytest.approx(1.814e9, rel=1e-3)
