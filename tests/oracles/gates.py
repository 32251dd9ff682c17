"""Channel gates as hypothesis draws them."""

from __future__ import annotations

from hypothesis import strategies as st

from espalier.core.layers import ActiveList, ChannelGateSpec


@st.composite
def gates(draw):
    """A spec with the channels around it: (spec, batch, channels in, channels out, image)."""
    granularity = draw(st.sampled_from([1, 4, 8, 16]))
    groups = draw(st.sampled_from([1, 3, 5, 8]) if granularity > 1 else st.sampled_from([1, 3, 17, 20, 64]))
    kept, mode = draw(st.integers(1, groups)), draw(st.sampled_from(["select", "boost"]))
    channels_in = draw(st.sampled_from([1, 3, 17, 20, 64]))
    fitting = [one for one in (1, 4, 16) if channels_in % one == 0]
    size = draw(st.sampled_from(fitting))
    active = draw(st.none() | st.builds(ActiveList, st.integers(1, channels_in // size), st.just(size)))
    roles = ("x", "phi", "rho", "active") if active else ("x", "phi", "rho")
    image = draw(st.sampled_from([(1, 1), (7, 3), (5, 18), (30, 30)]))
    return ChannelGateSpec("g", mode, granularity, kept, roles, active), draw(st.integers(1, 3)), channels_in, image
