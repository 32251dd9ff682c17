"""The operator `espalier.ChannelGate` of ONNX files: x, phi, rho to pi, mask; see `core.layers.ChannelGateSpec`.

Inputs: x float32 [N, C_in, H, W], phi [C_in, C_out], rho [C_out]. Outputs: pi and mask, float32 [N, C_out].
Attributes: granularity, kept (integers). The gate boosts: pi is the saliency of the winners' channels, mask is 1 there.
"""

from __future__ import annotations

import onnx

DOMAIN, NAME, VERSION = "espalier", "ChannelGate", 1


def is_channel_gate(node: onnx.NodeProto) -> bool:
    """Whether a node is this operator."""
    return (node.domain, node.op_type) == (DOMAIN, NAME)
