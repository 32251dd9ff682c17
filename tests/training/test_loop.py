"""espalier.training.loop: resuming, stopping, finishing."""

import dataclasses
import shutil
from functools import partial

import numpy as np
import pytest

import espalier
from espalier import Plan
from espalier.core.errors import InvalidInputError, TrainingStoppedError

torch = pytest.importorskip("torch")

from espalier.training.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from espalier.training.data import Images  # noqa: E402
from espalier.training.exporting import export  # noqa: E402
from espalier.training.finished import load_finished  # noqa: E402
from espalier.training.loop import CHECKPOINT, WEIGHTS, Training, top1_percent  # noqa: E402
from espalier.training.networks import NETWORKS  # noqa: E402
from espalier.training.recipe import Recipe  # noqa: E402

RECIPE = Recipe(
    "tiny", "resnet8", plan=Plan(density=0.5, placement="branch"), epochs=3, batch=4, distillation=0.5, lowering=0.5
)


def images(count: int = 8, seed: int = 0) -> Images:
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
    return Images(pictures, rng.integers(0, 10, count), torch.device("cpu"))


def training(output, recipe: Recipe = RECIPE) -> Training:
    return Training(recipe, images(), images(6, seed=1), output, output)


QUANTIZED = Recipe(
    "tiny-int8", "resnet8", "weights.pt", Plan(weights="uniform<8>"), epochs=3, batch=8, distillation=0.5
)


def weights(model) -> dict:
    return {name: one.clone() for name, one in model.state_dict().items()}


def test_a_narrower_network_starts_from_a_wider_one_which_teaches_it(tmp_path):
    torch.save(NETWORKS["mcifarnet"]().state_dict(), tmp_path / "wide.pt")
    recipe = Recipe("w", "mcifarnet-w50", "wide.pt", narrowed_from="mcifarnet", epochs=2, batch=8, distillation=0.5)
    first = Training(recipe, images(), images(6, seed=1), tmp_path, tmp_path / "out")
    assert (len(first.model.conv0.weight), len(first.teacher.conv0.weight)) == (32, 64)
    wide = {tuple(one.flatten().tolist()) for one in first.teacher.conv0.weight}
    assert all(tuple(one.flatten().tolist()) in wide for one in first.model.conv0.weight)
    next(first.run())
    resumed = Training(recipe, images(), images(6, seed=1), tmp_path, tmp_path / "out")
    assert all(torch.equal(one, weights(resumed.model)[name]) for name, one in weights(first.model).items())


def test_weights_that_are_finished_stay_as_they_are(tmp_path):
    """Another training began with them, and knows them by their content; they also say where theirs came from."""
    recipe = Recipe("dense", "resnet8", "weights.pt", epochs=1, batch=8)
    (tmp_path / "there").mkdir()
    torch.save(NETWORKS["resnet8"]().state_dict(), tmp_path / "weights.pt")
    shutil.copy(tmp_path / "weights.pt", tmp_path / "there")
    first = Training(recipe, images(), images(6, seed=1), tmp_path, tmp_path / "out")
    assert len([*first.run()]) == 1
    kept = (tmp_path / "out" / WEIGHTS).read_bytes()
    moved = dataclasses.replace(recipe, start=str(tmp_path / "there" / "weights.pt"))
    again = Training(moved, images(), images(6, seed=1), tmp_path, tmp_path / "out")
    assert [*again.run()] == []
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == kept
    (tmp_path / "out" / WEIGHTS).unlink()
    assert [*again.run()] == []
    assert (tmp_path / "out" / WEIGHTS).read_bytes() != kept


def test_another_network_teaches(tmp_path):
    torch.save(NETWORKS["mcifarnet-w50"]().state_dict(), tmp_path / "teacher.pt")
    recipe = Recipe("taught", "resnet8", teacher=("mcifarnet-w50", "teacher.pt"), epochs=1, batch=8, distillation=0.5)
    one = Training(recipe, images(), images(6, seed=1), tmp_path, tmp_path / "out")
    assert torch.equal(one.teacher.conv0.weight, torch.load(tmp_path / "teacher.pt")["conv0.weight"])
    alone = Training(dataclasses.replace(recipe, teacher=()), images(), images(6, seed=1), tmp_path, tmp_path / "alone")
    assert next(one.run()).loss != next(alone.run()).loss
    other = dataclasses.replace(recipe, teacher=("mcifarnet-w50", "other.pt"))
    with pytest.raises(InvalidInputError, match="other.pt: cannot be read"):
        Training(other, images(), images(6, seed=1), tmp_path, tmp_path / "other")


def test_a_compiled_training_learns_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # C++ would take minutes
    plain = next(training(tmp_path / "plain", dataclasses.replace(RECIPE, batch=8)).run())
    compiled = training(tmp_path / "compiled", dataclasses.replace(RECIPE, batch=8, compiled=True))
    assert next(compiled.run()).loss == pytest.approx(plain.loss, rel=1e-4)
    assert compiled.trained is not compiled.model


@pytest.mark.parametrize("recipe", [RECIPE, Recipe("dense", "resnet8", epochs=3, batch=4, label_smoothing=0.1)])
def test_a_resumed_training_is_the_same_bit_for_bit(tmp_path, recipe):
    whole, stopped = training(tmp_path / "whole", recipe), training(tmp_path / "stopped", recipe)
    epochs = list(whole.run())
    next(stopped.run())
    torch.manual_seed(99)  # what happens in between must not matter
    resumed = training(tmp_path / "stopped", recipe)
    assert len(resumed.done) == 1
    rest = list(resumed.run())
    assert [(one.number, one.density, one.loss, one.top1_percent) for one in epochs[1:]] == [
        (one.number, one.density, one.loss, one.top1_percent) for one in rest
    ]
    expected, got = weights(whole.model), weights(resumed.model)
    assert expected.keys() == got.keys()
    assert all(torch.equal(one, got[name]) for name, one in expected.items())


def test_training_changes_weights_and_gates(tmp_path):
    one = training(tmp_path)
    before = weights(one.model)
    list(one.run())
    unchanged = [
        name for name, value in weights(one.model).items() if torch.equal(value, before[name]) and "tracked" not in name
    ]
    assert unchanged == []


def test_the_density_falls(tmp_path):
    assert [epoch.density for epoch in training(tmp_path).run()] == [
        pytest.approx(RECIPE.density(number)) for number in range(3)
    ]


def test_progress_counts_batches_and_time_left(tmp_path):
    seen = []
    list(training(tmp_path).run(seen.append))
    assert [(at.epoch, at.batch) for at in seen] == [(e, b) for e in (1, 2, 3) for b in (1, 2)]
    assert seen[-1].left_s == 0
    assert seen[0].left_s > 0


def test_a_finished_training_compiles_to_the_same_network(tmp_path):
    list(training(tmp_path).run())
    assert (tmp_path / WEIGHTS).stat().st_size < 10_000_000
    model = load_finished(tmp_path / WEIGHTS)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    got = espalier.build(espalier.from_torch(model, x))(x.numpy())
    with torch.no_grad():
        np.testing.assert_allclose(got, model(x), rtol=1e-4, atol=1e-4)


def test_a_loss_that_is_not_finite_keeps_the_last_good_state(tmp_path):
    one = training(tmp_path)
    run = one.run()
    next(run)
    with torch.no_grad():
        next(one.model.parameters()).fill_(float("nan"))
    with pytest.raises(
        TrainingStoppedError, match="the loss is nan in epoch 2, batch 1; the last good state is .*epoch 1"
    ):
        next(run)
    assert len(load_checkpoint(tmp_path / CHECKPOINT)["epochs"]) == 1
    assert len(list(training(tmp_path).run())) == 2


def test_a_loss_that_is_not_finite_at_once(tmp_path):
    recipe = dataclasses.replace(RECIPE, learning_rate=1e30, warm_up=0)
    with pytest.raises(TrainingStoppedError, match="the last good state is the one it started from"):
        list(training(tmp_path, recipe).run())
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_checkpoint_of_another_architecture(tmp_path):
    next(training(tmp_path).run())
    with pytest.raises(
        InvalidInputError, match="of another architecture, block1.bn1.bias is .16., accepted is nothing"
    ):
        training(tmp_path, dataclasses.replace(RECIPE, network="mcifarnet"))


def test_a_checkpoint_of_other_settings(tmp_path):
    next(training(tmp_path).run())
    with pytest.raises(InvalidInputError, match="of a training with epochs 3, now 4"):
        training(tmp_path, dataclasses.replace(RECIPE, epochs=4))


def test_a_checkpoint_of_weights_that_were_moved_is_gone_on_from_and_of_others_is_not(tmp_path):
    recipe = dataclasses.replace(RECIPE, start="first.pt", teacher=("resnet8", "taught.pt"))
    for name in ("first.pt", "taught.pt"):
        torch.save(NETWORKS["resnet8"]().state_dict(), tmp_path / name)
    next(training(tmp_path, recipe).run())
    (tmp_path / "moved").mkdir()
    for name in ("first.pt", "taught.pt"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    moved = dataclasses.replace(recipe, start="moved/first.pt", teacher=("resnet8", "moved/taught.pt"))
    assert len(training(tmp_path, moved).done) == 1
    torch.manual_seed(1)
    torch.save(NETWORKS["resnet8"]().state_dict(), tmp_path / "moved" / "first.pt")
    with pytest.raises(InvalidInputError, match="of a training with start first.pt .sha256 .*, now moved/first.pt"):
        training(tmp_path, moved)


def test_a_checkpoint_that_is_older_than_a_setting(tmp_path):
    next(training(tmp_path).run())
    state = load_checkpoint(tmp_path / CHECKPOINT)
    del state["recipe"]["drawn_densities"]
    save_checkpoint(tmp_path / CHECKPOINT, state)
    assert len(list(training(tmp_path).run())) == 2


def test_a_truncated_checkpoint(tmp_path):
    next(training(tmp_path).run())
    content = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(content[:-1000])
    with pytest.raises(InvalidInputError, match="truncated or no checkpoint"):
        training(tmp_path)


def test_missing_starting_weights(tmp_path):
    with pytest.raises(InvalidInputError, match="none.pt: cannot be read"):
        training(tmp_path, dataclasses.replace(RECIPE, start="none.pt"))


def test_top1_counts_in_inference_mode(tmp_path):
    model = training(tmp_path).model.train()
    data = images(10, seed=3)
    logits = model.eval()(next(iter(data.plain_batches(10)))[0])
    expected = 100 * float((logits.argmax(1) == data.labels).float().mean())
    assert top1_percent(model.train(), data) == pytest.approx(expected)
    assert not model.training


def quantized_training(folder, output, recipe: Recipe) -> Training:
    return Training(recipe, images(16), images(6, seed=1), folder, folder / output)


@pytest.fixture(scope="module")
def floats(tmp_path_factory):
    """The folder of a finished training: without gates, weights partly pruned."""
    folder = tmp_path_factory.mktemp("floats")
    recipe = Recipe("pruned", "resnet8", epochs=2, batch=4, pruning=0.5)
    list(training(folder, recipe).run())
    return folder


def test_pruned_weights_are_stored_as_zeros(floats):
    model = load_finished(floats / WEIGHTS)
    weights = torch.cat([weight.flatten() for weight in model.parameters() if weight.ndim > 1])
    assert float((weights == 0).float().mean()) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("changes", [{}, {"incremental": (0.5, 1.0), "plan": Plan(weights="shift<4>")}])
def test_a_quantized_training_resumes_and_finishes_bit_for_bit(floats, tmp_path, changes):
    recipe = dataclasses.replace(QUANTIZED, **changes)
    whole = quantized_training(floats, tmp_path / "whole", recipe)
    stopped = quantized_training(floats, tmp_path / "stopped", recipe)
    epochs = list(whole.run())
    next(stopped.run())
    resumed = quantized_training(floats, tmp_path / "stopped", recipe)
    rest = list(resumed.run())
    assert [(one.loss, one.top1_percent) for one in epochs[1:]] == [(one.loss, one.top1_percent) for one in rest]
    expected, got = weights(whole.model), weights(resumed.model)
    assert expected.keys() == got.keys()
    assert all(torch.equal(one, got[name]) for name, one in expected.items())

    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    trained, loaded = export(whole.model, x)[2], export(load_finished(tmp_path / "whole" / WEIGHTS), x)[2]
    assert trained.ranges == loaded.ranges
    pruned = load_finished(floats / WEIGHTS).state_dict()
    for name, codes in trained.quantized.items():
        for array in ("codes", "table", "scale"):
            np.testing.assert_array_equal(getattr(codes, array), getattr(loaded.quantized[name], array))
        if pruned[f"{name}.weight"].ndim > 1:
            assert not codes.integers[pruned[f"{name}.weight"].numpy() == 0].any()


def test_a_quantized_training_starts_from_a_gated_one(tmp_path):
    gated = dataclasses.replace(RECIPE, name="gated", epochs=1, lowering=0.0)
    list(training(tmp_path / "gated", gated).run())
    plan = dataclasses.replace(RECIPE.plan, weights="focused<5>")
    recipe = dataclasses.replace(QUANTIZED, plan=plan, epochs=1, distillation=0.0)
    one = Training(recipe, images(16), images(6, seed=1), tmp_path / "gated" / WEIGHTS, tmp_path / "int")
    (epoch,) = one.run()
    assert epoch.density == 0.5
    _, exported, calibration = export(load_finished(tmp_path / "int" / WEIGHTS), torch.zeros(1, 3, 8, 8))
    assert calibration.gates.keys() == {name for name in exported.layers if exported.layer(name).density < 1} != set()
    assert exported.layer("block1.conv1").weights == "focused<5>"


def test_a_start_with_another_network(floats, tmp_path):
    with pytest.raises(InvalidInputError, match="weights.pt: holds the network resnet8, accepted is mcifarnet"):
        Training(dataclasses.replace(QUANTIZED, network="mcifarnet"), images(), images(), floats, tmp_path)
