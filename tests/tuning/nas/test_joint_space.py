from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.core.architecture import SPACES, layer_stages
from espalier.core.choice_space import ChoiceSpace
from espalier.core.errors import InvalidInputError
from espalier.core.plan import Plan
from espalier.measure.threads import cores
from espalier.targets.resolve import resolve_target
from espalier.tuning.nas.joint_space import JointSpace, on_cpu, stage_plan

CPU, GPU, BOARD = "llvm", "nvidia/nvidia-h100", "fpga_hls/pynq-z2"
CASES = [(name, target) for name in SPACES for target in (CPU, GPU, BOARD)]
SEEDS = st.integers(0, 10_000)


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """From the text of a file to a space."""
    path = tmp_path_factory.mktemp("spaces") / "space.txt"

    def found(text: str, target: str) -> JointSpace:
        path.write_text(text)
        return JointSpace.read(str(path), target)

    return found


@pytest.fixture(scope="module")
def whole(read):
    """By case: the space with every dimension that is offered."""
    spaces = {}
    for name, target in CASES:
        offered = JointSpace.of(name, target).offered
        spaces[name, target] = read(f"architectures = {name}\n{ChoiceSpace(offered)}", target)
    return spaces


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_every_choice_of_plan_and_target_can_be_searched(whole, case):
    dimensions = whole[case].choices.dimensions
    for setting in ("depth", "width", "kernel", "expansion", "weights", "density", "granularity"):
        assert {f"stage{number}.{setting}" for number in (1, 2, 3)} <= set(dimensions)
    assert ("stage1.activations" in dimensions) == (case[1] == BOARD)
    assert dimensions.get("threads") == (tuple(range(1, len(cores()) + 1)) if case[1] == CPU else None)
    assert ("batch" in dimensions) == (case[1] == GPU)
    assert ("frames_per_s" in dimensions) == (case[1] == BOARD)


@pytest.mark.parametrize("case", CASES, ids="-".join)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_every_point_is_a_network_a_plan_and_a_target(whole, case, seed):
    space, random = whole[case], np.random.default_rng(seed)
    one, other = space.choices.sample(random), space.choices.sample(random)
    for point in (one, space.choices.mutate(one, random), space.choices.cross(one, other, random)):
        space.choices.check(point)
        candidate = space.candidate(point)
        resolve_target(candidate.target)
        stages = layer_stages(candidate.architecture)
        plan = candidate.plan.for_layers(stages)
        assert list(plan.layers) == list(stages)
        for name, number in stages.items():
            layer = plan.layer(name)
            assert layer.weights == point[f"stage{number}.weights"] == candidate.stage_weights[number - 1]
            assert (layer.density, layer.granularity) == (
                point[f"stage{number}.density"],
                point[f"stage{number}.granularity"],
            )
            assert layer.activations == point.get(f"stage{number}.activations", layer.activations)
        assert candidate.threads == point.get("threads", 1)
        assert candidate.batch == point.get("batch", 1)
        rows = [space.choices.encode(one_of) for one_of in (point, one)]
        assert (rows[0] == rows[1]).all() == (point == one)


@pytest.mark.parametrize("case", CASES, ids="-".join)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_a_point_is_the_whole_of_a_space_of_its_own(whole, read, case, seed):
    space = whole[case]
    point = space.choices.sample(np.random.default_rng(seed))
    alone = read(space.text(point), case[1])
    assert alone.choices.size == 1
    assert alone.candidate(alone.choices.sample(np.random.default_rng(0))) == space.candidate(point)


def test_gates_and_few_bits_make_networks_that_are_not_plain(read):
    text = "architectures = resnet-cifar\n"
    for line, is_plain in (
        ("stage2.density = 1.0\n", True),
        ("stage2.density = 0.5 | 1.0\n", False),
        ("stage3.activations = uniform<8>\n", True),
        ("stage3.activations = uniform<6>\n", False),
        ("stage3.granularity = 4\n", True),
    ):
        space = read(text + line, BOARD)
        assert space.has_plain_activations is is_plain
        lowest = {name: values[0] for name, values in space.choices.dimensions.items()}
        assert space.candidate(lowest).has_plain_activations is is_plain


def test_a_stage_that_a_file_does_not_name_is_as_ever(read):
    space = read("architectures = resnet-cifar\nstage2.density = 0.5\n", CPU)
    plan = space.candidate(space.choices.sample(np.random.default_rng(0))).plan
    assert [plan.layer(f"stage{number}.0.conv1").density for number in (1, 2, 3)] == [1.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("line", "target", "words"),
    [
        ("threads = 0 | 1", CPU, "accepted are some of"),
        ("threads = 1", BOARD, "got threads"),
        ("batch = 2", GPU, "accepted are some of"),
        ("batch = 1", CPU, "got batch"),
        ("stage1.density = 0.3", CPU, "accepted are some of"),
        ("stage1.granularity = 16", GPU, "accepted are some of"),
        ("stage1.activations = uniform<4>", CPU, "got stage1.activations"),
    ],
)
def test_what_a_target_does_not_offer_is_refused(read, line, target, words):
    with pytest.raises(InvalidInputError, match=words):
        read(f"architectures = resnet-cifar\n{line}\n", target)


def test_float16_is_float32_on_a_cpu():
    architecture = SPACES["resnet-cifar"].smallest
    plan = on_cpu(stage_plan(architecture, ("float16", "uniform<8>", "float16")))
    assert plan.layer("stage1.0.conv1") == Plan().layer("any")
    assert plan.layer("stage2.0.conv1").weights == "uniform<8>"
