"""ONNX's own test cases of operators: each is computed as ONNX says, or refused in one line."""

from __future__ import annotations

import warnings
from fnmatch import fnmatchcase

import numpy as np
import onnx
import onnx.compose
import pytest
from models import UNOPTIMIZED
from onnx import helper, numpy_helper
from tvm.relax.frontend.onnx import onnx_frontend

import espalier
from espalier.core.errors import EspalierError
from espalier.frontend import from_onnx

PARAMETERS = {
    **dict.fromkeys(
        ("AffineGrid", "CumSum", "Expand", "Reshape", "Split", "Squeeze", "Tile", "TopK", "Unsqueeze"), (1,)
    ),
    **dict.fromkeys(("CastLike", "Trilu", "Upsample"), (1,)),
    **dict.fromkeys(("Clip", "DequantizeLinear", "Dropout", "OneHot", "QuantizeLinear"), (1, 2)),
    **dict.fromkeys(("Pad", "Resize", "Slice"), (1, 2, 3, 4)),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
}
"""Inputs that shapes or types depend on; the model stores them."""
TYPES = (
    *(
        "*BFLOAT16*",
        "*FLOAT8*",
        "*UINT4*",
        "*INT4*",
        "*UINT2*",
        "*INT2*",
        "*FLOAT4*",
        "*bfloat16*",
        "*_e4m3fn*",
        "*_e5m2",
    ),
    *("test_*linear_int[24]", "test_*linear_uint[24]", "*_float4e2m1", "test_equal_string*"),
)
SEQUENCES = (
    *("test_identity_sequence", "test_identity_opt", "test_sequence_insert_*", "test_optional_get_element_*sequence"),
    *("test_optional_get_element_optional_*", "test_optional_has_element_[to]*", "*_element_empty_optional_input"),
)
NO_ELEMENTS = (
    "test_reduce_*_empty_set*",
    "test_reshape_allowzero_reordered",
    "test_split_zero_size_*",
    "test_tri[ul]_zero",
)
TRAINING = ("test_training_dropout", "test_training_dropout_mask", "test_training_dropout_default*")
REFUSED = {
    "test_optional_has_element_empty_no_input_[to]*": "OptionalHasElement expects one input",
    **dict.fromkeys(TYPES, "is of "),
    **dict.fromkeys(SEQUENCES, "is no tensor, accepted are tensors"),
    **dict.fromkeys(NO_ELEMENTS, "is dynamic; bind it"),
    "test_split_to_sequence_*": "is no tensor, accepted are tensors",
    "test_attention_*": "unsupported operators: Attention",
    "test_batchnorm_*_training_mode": "attribute training_mode = 1, accepted is 0",
    **dict.fromkeys(TRAINING, "input training_mode = 1, accepted is 0"),
    "test_compress_*": "its shape depends on the data",
    "test_nonzero_example": "its shape depends on the data",
    "test_unique_*": "its shape depends on the data",
    "test_nonmaxsuppression_*": "the shape of its result depends on the data",
    "test_*quantizelinear_blocked*": "blocked quantization is not supported",
    "test_maxpool_with_argmax_*": "output Indices is not supported",
    "test_maxunpool_*": "output Indices of MaxPool, which is not supported",
    "test_pow_types_int??_int??": "a whole number to the power of a whole number is not supported",
    "test_resize_downsample_scales_*_align_corners": "align_corners with scales that give no whole sizes",
    "test_resize_downsample_*_antialias": "attribute antialias = 1 where an axis becomes smaller",
    "test_roialign_mode_max": "attribute mode = max, accepted is avg",
    "test_top_k_uint64": "numbers of uint64, accepted are",
}
"""Cases that are refused, by patterns of which the first that fits counts, with a part of the error."""


def cases() -> dict:
    """The cases of operators that the importer has, by name; not those that spell out an operator by others."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    known = onnx_frontend._get_convert_map()
    operators = {one.name: {node.op_type for node in one.model.graph.node} for one in found}
    return {one.name: one for one in found if "_expanded" not in one.name and operators[one.name] <= set(known)}


CASES = cases()


def array(value) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def with_parameters(case) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """The case's model with stored parameters, and the arrays of its other inputs."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    node, given = model.graph.node[0], case.data_sets[0][0]
    reduces = node.op_type.startswith("Reduce")
    stored = {node.input[i] for i in ((1,) if reduces else PARAMETERS.get(node.op_type, ())) if i < len(node.input)}
    feeds = {}
    for value, data in zip(list(model.graph.input), given):
        if value.name in stored or (not isinstance(data, list) and data is not None and array(data).ndim == 0):
            model.graph.initializer.append(numpy_helper.from_array(array(data), value.name))
            model.graph.input.remove(value)
        else:
            feeds[value.name] = data
    return model, feeds


def expected_refusal(name: str) -> str | None:
    return next((text for pattern, text in REFUSED.items() if fnmatchcase(name, pattern)), None)


def refusal(case) -> str | None:
    """The error's text; None if the case is accepted."""
    try:
        from_onnx(with_parameters(case)[0])
    except EspalierError as error:
        return str(error)
    return None


ACCEPTED: dict[tuple[str, int], list[str]] = {}
for _name, _case in CASES.items():
    if expected_refusal(_name) is None:
        _version = next(one.version for one in _case.model.opset_import if not one.domain)
        ACCEPTED.setdefault((_case.model.graph.node[-1].op_type, _version), []).append(_name)


@pytest.mark.parametrize("reason", sorted(set(REFUSED.values())))
def test_what_is_refused_and_why(reason):
    """That the others are not is seen where they are computed."""
    errors = {name: refusal(case) for name, case in CASES.items() if expected_refusal(name) == reason}
    assert errors
    assert {name: text for name, text in errors.items() if text is None or reason not in text or "\n" in text} == {}


@pytest.mark.parametrize(("operator", "opset"), ACCEPTED, ids=[f"{operator}-{opset}" for operator, opset in ACCEPTED])
def test_as_onnx_says(operator, opset):
    """All cases of an operator as one model."""
    models, feeds, wanted = [], {}, []
    for number, name in enumerate(ACCEPTED[operator, opset]):
        model, given = with_parameters(CASES[name])
        prefix = f"c{number}_"
        models.append(onnx.compose.add_prefix(model, prefix))
        feeds |= {prefix + key: array(value) for key, value in given.items()}
        wanted += [(name, CASES[name], array(value)) for value in CASES[name].data_sets[0][1]]
    parts = {
        field: [one for model in models for one in getattr(model.graph, field)]
        for field in ("node", "input", "output", "initializer")
    }
    graph = helper.make_graph(parts["node"], "cases", parts["input"], parts["output"], parts["initializer"])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    artifact = espalier.build(from_onnx(model), UNOPTIMIZED)
    ours = artifact(*(feeds[one.name] for one in artifact.inputs))
    for (name, case, want), got in zip(wanted, ours if len(wanted) > 1 else [ours], strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape), name
        rtol, atol = max(case.rtol, 1e-4), max(case.atol, 1e-5)
        np.testing.assert_allclose(got.astype("float64"), want.astype("float64"), rtol, atol, err_msg=name)
