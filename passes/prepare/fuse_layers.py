"""Each convolution and dense product becomes one layer with what follows it fused in."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from espalier.core.layers import Activation, Conv2dSpec, DenseSpec, LayerSpec
from espalier.ir.dataflow import Dataflow, constant, dtype_of, shape_of
from espalier.ir.operators import layer_function
from espalier.ir.rewriting import BindingRewriter


@tvm.transform.module_pass(opt_level=0, name="FuseLayers")
class FuseLayers:
    """conv2d or matmul [+ bias] [+ residual] [-> relu or clip] becomes a call of an Espalier operator.

    The layer takes the name of the variable that the product was bound to, which is where the
    frontend put the model's own name. Of two convolutions that meet in an add, the one that is
    defined first takes the other as its residual.
    """

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to main."""
        return _LayerFuser(mod).run()


@dataclass
class _Chain:
    """A product and the variables fused to it; the last one becomes the layer's output."""

    spec: LayerSpec
    last: relax.Var
    arguments: dict[str, relax.Expr]
    fused: list[relax.Var] = field(default_factory=list)

    def extend(self, var: relax.Var) -> None:
        self.fused.append(self.last)
        self.last = var


@mutator
class _LayerFuser(BindingRewriter):
    def __init__(self, mod: tvm.IRModule):
        super().__init__(mod)
        self.chains, self.fused, self.taken = {}, set(), set()
        for var in self.flow.values:
            chain = _product(self.flow, var)
            if chain is None:
                continue
            _take_bias(self.flow, chain)
            _take_residual(self.flow, chain, self.taken)
            _take_activation(self.flow, chain)
            self.chains[chain.last] = chain
            self.fused.update(chain.fused)
            self.taken.update(chain.fused, [chain.last])

    def rewrite(self, var: relax.Var, value: relax.Expr) -> relax.Expr | None:
        if var in self.fused:
            return None
        chain = self.chains.get(var)
        if chain is None:
            return self.visit_expr(value)
        arguments = [self.visit_expr(argument) for argument in chain.arguments.values()]
        function = layer_function(chain.spec, arguments)
        return self.call_operator(function, chain.spec.name, arguments)


def _product(flow: Dataflow, var: relax.Var) -> _Chain | None:
    convolution = flow.call_of(var, "relax.nn.conv2d")
    if convolution is not None and _is_plain_conv2d(convolution):
        return _Chain(conv2d_spec(var.name, convolution), var, dict(zip(("x", "weight"), convolution.args)))
    matmul = flow.call_of(var, "relax.matmul")
    weight = None if matmul is None else _dense_weight(flow, matmul)
    if weight is None:
        return None
    return _Chain(DenseSpec(var.name), var, {"x": matmul.args[0], "weight": relax.const(weight)})


def _is_plain_conv2d(call: relax.Call) -> bool:
    attrs, x = call.attrs, call.args[0]
    layouts = (str(attrs.data_layout), str(attrs.kernel_layout))
    return layouts == ("NCHW", "OIHW") and dtype_of(x) == "float32" and constant(call.args[1]) is not None


def conv2d_spec(name: str, call: relax.Call) -> Conv2dSpec:
    """The parameters of a stock convolution."""
    attrs = call.attrs
    return Conv2dSpec(
        name,
        strides=tuple(int(s) for s in attrs.strides),
        padding=tuple(int(p) for p in attrs.padding),
        dilation=tuple(int(d) for d in attrs.dilation),
        groups=int(attrs.groups),
    )


def _dense_weight(flow: Dataflow, call: relax.Call) -> np.ndarray | None:
    """The constant weight [C_out, C_in] of a matmul of a float32 matrix, else None."""
    x, right = call.args
    if len(shape_of(x)) != 2 or dtype_of(x) != "float32":
        return None
    weight = constant(right)
    if weight is None:
        transposed = flow.call_of(right, "relax.permute_dims")
        weight = None if transposed is None else constant(transposed.args[0])
        return weight if weight is not None and weight.ndim == 2 else None
    return np.ascontiguousarray(weight.T) if weight.ndim == 2 else None


def _take_bias(flow: Dataflow, chain: _Chain) -> None:
    user = flow.only_user(chain.last)
    added = flow.call_of(user, "relax.add")
    if added is None:
        return
    channels = shape_of(chain.arguments["weight"])[0]
    accepted = [(1, channels, 1, 1)] if isinstance(chain.spec, Conv2dSpec) else [(channels,), (1, channels)]
    for operand in added.args:
        value = constant(operand)
        if value is not None and value.shape in accepted:
            chain.arguments["bias"] = relax.const(value.reshape(-1))
            chain.spec = chain.spec.with_arguments("bias")
            chain.extend(user)
            return


def _take_residual(flow: Dataflow, chain: _Chain, taken: set) -> None:
    user = flow.only_user(chain.last)
    added = flow.call_of(user, "relax.add")
    if added is None or user in taken or not isinstance(chain.spec, Conv2dSpec):
        return
    left, right = added.args
    other = right if left.same_as(chain.last) else left
    if not isinstance(other, relax.Var) or other.same_as(chain.last) or shape_of(other) != shape_of(chain.last):
        return
    chain.arguments["residual"] = other
    chain.spec = chain.spec.with_arguments("residual")
    chain.extend(user)


def _take_activation(flow: Dataflow, chain: _Chain) -> None:
    user = flow.only_user(chain.last)
    activation = activation_of(flow.call_of(user, "relax.nn.relu", "relax.clip", "relax.nn.relu6"))
    if activation is not None:
        chain.spec = chain.spec.with_arguments(activation=activation)
        chain.extend(user)


def activation_of(call: relax.Call | None) -> Activation | None:
    """The activation that a call of relu, relu6 or clip is; None for None."""
    if call is None:
        return None
    if call.op.name == "relax.nn.relu":
        return Activation("relu")
    if call.op.name == "relax.nn.relu6":
        return Activation("clip", 0.0, 6.0)
    return Activation("clip", *(float(bound.value) for bound in call.args[1:3]))
