"""The attribute keys by which passes and code generators understand each other.

Everything that travels in an IRModule is named here; nothing is recognised by a generated name.
"""

COMPOSITE = "Composite"
"""Function attribute: which Espalier operator this Relax function is (one of the names below)."""

CONV2D = "espalier.conv2d"
DENSE = "espalier.dense"
CHANNEL_GATE = "espalier.channel_gate"

LAYERS = (CONV2D, DENSE, CHANNEL_GATE)

QUANTIZE = "espalier.quantize"
DEQUANTIZE = "espalier.dequantize"
MEAN_POOL = "espalier.mean_pool"
ADD = "espalier.add"

OPERATORS = (*LAYERS, QUANTIZE, DEQUANTIZE, MEAN_POOL, ADD)

WINNERS_MASK = "espalier.winners_mask"
"""Composite of a function that frontends write: a gate's list as a mask. FuseLayers makes it a layer's argument."""

SPEC = "espalier.spec"
"""Function attribute: the operator's parameters as a JSON text, see `core.layers`."""

REPORT = "espalier.report"
"""Module attribute: JSON list of remarks, one for each decision a pass took or declined."""

KERNEL_LAYER = "espalier.layer"
"""PrimFunc attribute: the layer on whose behalf the kernel runs ("" for glue such as layout changes)."""

OUTPUT_NAMES = "espalier.output_names"
"""Module attribute: the names of the outputs of `main`, in order."""
