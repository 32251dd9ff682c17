"""espalier.training.weight_quantizer: fitted levels forwards, the gradient straight through, weights fixed by parts."""

import numpy as np
import pytest

from espalier.core.formats import parse_format
from espalier.passes.quantize.fitting.fit import fit

torch = pytest.importorskip("torch")

from espalier.training.weight_quantizer import WeightQuantizer  # noqa: E402

FORMATS = ("uniform<8>", "uniform<2>", "fixed<8,6>", "shift<4>", "focused<5>", "codebook<3>", "binary")


def drawn(seed: int = 0) -> torch.Tensor:
    return torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(seed)) * 0.3


def pruned(weight: torch.Tensor) -> torch.Tensor:
    """Two heaps of weights, and zeros between them, which focused formats have components for."""
    return torch.where(weight.abs() > 0.25, weight, 0.0)


def fitted(text: str, weight: torch.Tensor, **options) -> WeightQuantizer:
    quantizer = WeightQuantizer(parse_format(text), weight, **options)
    quantizer.fit_to(weight)
    return quantizer


@pytest.mark.parametrize("text", FORMATS)
def test_the_forward_pass_has_the_fitted_levels_and_the_backward_pass_none(text):
    weight = drawn().requires_grad_()
    quantizer = fitted(text, weight)
    expected = fit(weight.detach().numpy(), parse_format(text))
    got = quantizer(weight)
    np.testing.assert_array_equal(got.detach(), expected.dequantized())
    upstream = drawn(1)
    got.backward(upstream)
    low, high = (float(one) for one in quantizer._reach())
    scaled = weight.detach() / quantizer.scale.detach().view(-1, 1, 1, 1)
    followed = (scaled >= low) & (scaled <= high)
    assert followed.float().mean() > 0.6
    torch.testing.assert_close(weight.grad, upstream * followed)
    exported = quantizer.exported(weight)
    np.testing.assert_array_equal(exported.codes, expected.codes)
    np.testing.assert_array_equal(exported.table, expected.table)
    np.testing.assert_array_equal(exported.scale, expected.scale)


@pytest.mark.parametrize("text", ["uniform<4>", "codebook<3>", "focused<5>"])
def test_scales_learn_as_step_sizes(text):
    """Esser et al., equation 3: level less scaled weight between the ends, the outer level beyond them."""
    weight, upstream = pruned(drawn()), drawn(1)
    quantizer = fitted(text, weight)
    quantizer(weight).backward(upstream)
    scaled = weight / quantizer.scale.detach().view(-1, 1, 1, 1)
    low, high = (float(one) for one in quantizer._reach())
    levels = quantizer.integers(weight)
    inside = (scaled >= low) & (scaled <= high) & quantizer.kept
    each = torch.where(inside, levels - scaled, levels) * upstream
    weights, largest = quantizer.kept.flatten(1).sum(1), quantizer.levels.abs().max()
    torch.testing.assert_close(quantizer.scale.grad, each.flatten(1).sum(1) / (largest**2 * weights.sqrt()))
    assert not fitted("fixed<8,6>", weight).scale.requires_grad


def test_scales_that_learn_reach_a_smaller_loss():
    """A layer learns what its weights give, 1.3 times as large: with scales that learn, and as they are fitted."""
    x, losses = torch.randn(64, 54, generator=torch.Generator().manual_seed(2)), []
    for learns in (True, False):
        quantizer, latent = fitted("codebook<3>", drawn()), drawn().requires_grad_()
        optimizer = torch.optim.SGD([latent, *(quantizer.parameters() if learns else ())], 0.01, 0.9)
        for _ in range(60):
            optimizer.zero_grad()
            loss = ((x @ (quantizer(latent) - 1.3 * drawn()).flatten(1).T) ** 2).mean()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] < 0.9 * losses[1]
    assert losses[1] < 0.3


def test_components_of_a_focused_format_are_exported():
    weight = pruned(drawn())
    expected = fit(weight.numpy(), parse_format("focused<5>"), mask=weight.numpy() != 0)
    assert expected.components
    exported = fitted("focused<5>", weight).exported(weight)
    assert exported.components == expected.components
    np.testing.assert_array_equal(exported.integers, expected.integers)


@pytest.mark.parametrize("text", ["uniform<4>", "shift<4>", "focused<5>", "codebook<3>"])
def test_weights_that_move_take_the_nearest_levels(text):
    weight, quantizer = drawn(), fitted(text, drawn())
    moved = weight + 0.1 * drawn(1)
    levels, scale = quantizer.levels.double(), quantizer.scale.detach().double().view(-1, 1, 1, 1)
    distances = (moved.double()[..., None] - levels * scale[..., None]).abs()
    got = quantizer(moved).detach().double()
    torch.testing.assert_close((moved - got).abs(), distances.amin(-1), rtol=0, atol=1e-7)
    np.testing.assert_array_equal(quantizer.exported(moved).dequantized(), quantizer(moved).detach())
    quantizer.fit_to(moved)
    np.testing.assert_array_equal(quantizer(moved).detach(), fit(moved.numpy(), parse_format(text)).dequantized())


def test_pruned_weights_stay_zero():
    weight = pruned(drawn())
    quantizer = fitted("shift<4>", weight)
    moved = weight + 1
    assert not quantizer(moved)[weight == 0].any()
    quantizer.fit_to(moved)
    assert not quantizer(moved)[weight == 0].any()
    assert quantizer(moved)[weight != 0].all()
    assert not quantizer.exported(moved).integers[weight == 0].any()


@pytest.mark.parametrize("make", [drawn, lambda: pruned(drawn())])
def test_incremental_fractions_the_largest_first(make):
    weight = make()
    quantizer = fitted("shift<4>", weight, is_incremental=True)
    count = int((weight != 0).sum())
    for share in (0.25, 0.5, 0.75, 0.875, 1.0):
        quantizer.settle(weight, share)
        assert int(quantizer.settled.sum()) == round(share * count)
        free = quantizer.kept & ~quantizer.settled
        if free.any():
            assert weight[quantizer.settled].abs().min() >= weight[free].abs().max()
    quantizer.settle(weight, 1.0)
    assert torch.equal(quantizer.settled, quantizer.kept)


def test_fixed_weights_do_not_move_and_the_others_are_trained_as_they_are():
    weight = pruned(drawn()).requires_grad_()
    quantizer = fitted("shift<4>", weight, is_incremental=True)
    before = quantizer.eval()(weight)
    quantizer.train().settle(weight, 0.5)
    got = quantizer(weight)
    free = quantizer.kept & ~quantizer.settled
    assert torch.equal(got[quantizer.settled], before[quantizer.settled])
    assert torch.equal(got[free], weight[free])
    got.sum().backward()
    assert torch.equal(weight.grad, free.float())
    moved = -weight.detach()
    assert torch.equal(quantizer(moved)[quantizer.settled], before[quantizer.settled])
    assert torch.equal(quantizer.eval()(moved)[quantizer.settled], before[quantizer.settled])
    np.testing.assert_array_equal(quantizer.exported(moved).dequantized(), quantizer(moved).detach())
