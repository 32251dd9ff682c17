from __future__ import annotations

import itertools

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


@pytest.fixture(scope="module")
def finer(read):
    """By case: every dimension that is offered, and settings of their own for some blocks and layers."""
    spaces = {}
    for name, target in CASES:
        space = JointSpace.of(name, target)
        dimensions = {**space.offered, **dict(list(space.finer.items())[::3])}
        spaces[name, target] = read(f"architectures = {name}\n{ChoiceSpace(dimensions)}", target)
    return spaces


def chosen(space: JointSpace, point: dict, layer: str, stage: int, setting: str):
    """What a layer should have: its own setting, its block's or its stage's; for the space's dimensions say which."""
    block = ".".join(layer.split(".")[:2])
    for place in (layer, block, f"stage{stage}"):
        if f"{place}.{setting}" in space.choices.dimensions:
            return point.get(f"{place}.{setting}")
    return None


@pytest.mark.parametrize("kind", ["whole", "finer"])
@pytest.mark.parametrize("case", CASES, ids="-".join)
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_every_point_is_a_network_a_plan_and_a_target(whole, finer, kind, case, seed):
    space, random = {"whole": whole, "finer": finer}[kind][case], np.random.default_rng(seed)
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
            assert layer.weights == chosen(space, point, name, number, "weights")
            if case[1] == BOARD:
                assert layer.activations == chosen(space, point, name, number, "activations")
            if name not in ("stem", "linear"):
                assert layer.density == chosen(space, point, name, number, "density")
                if layer.density < 1:
                    assert layer.granularity == chosen(space, point, name, number, "granularity")
        if kind == "whole":
            assert candidate.stage_weights == tuple(point[f"stage{number}.weights"] for number in (1, 2, 3))
        assert candidate.threads == point.get("threads", 1)
        assert candidate.batch == point.get("batch", 1)
        rows = [space.choices.encode(one_of) for one_of in (point, one)]
        assert (rows[0] == rows[1]).all() == (point == one)
        assert (point == one) == (candidate == space.candidate(one))


@pytest.mark.parametrize("kind", ["whole", "finer"])
@pytest.mark.parametrize("case", CASES, ids="-".join)
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_mutating_gives_another_network_and_crossing_what_a_parent_has(whole, finer, kind, case, seed):
    space, random = {"whole": whole, "finer": finer}[kind][case], np.random.default_rng(seed)
    one, other = space.choices.sample(random), space.choices.sample(random)
    child = space.choices.cross(one, other, random)
    assert space.candidate(space.choices.mutate(one, random)) != space.candidate(one)
    for name in child.keys() & (one.keys() | other.keys()):
        assert child[name] in (one.get(name), other.get(name))
    assert list(child) == [name for name in space.choices.dimensions if name in child]


@pytest.mark.parametrize("kind", ["whole", "finer"])
@pytest.mark.parametrize("case", CASES, ids="-".join)
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_a_point_is_the_whole_of_a_space_of_its_own(whole, finer, kind, read, case, seed):
    space = {"whole": whole, "finer": finer}[kind][case]
    point = space.choices.sample(np.random.default_rng(seed))
    alone = read(space.text(point), case[1])
    assert alone.choices.size == 1
    assert alone.candidate(alone.choices.sample(np.random.default_rng(0))) == space.candidate(point)


NARROW = {
    **{
        f"stage{number}.{name}": (value,)
        for number, name, value in ((1, "width", 8), (2, "width", 16), (3, "width", 32))
    },
    "stage1.depth": (1, 2, 3),
    "stage2.depth": (1,),
    "stage3.depth": (1,),
    "stage2.expansion": (0.5,),
    "stage3.expansion": (0.5,),
    "stage2.weights": ("uniform<8>",),
    "stage3.weights": ("uniform<8>",),
}


@pytest.mark.parametrize(
    ("lines", "count"),
    [
        ({"stage1.weights": ("uniform<8>",), "stage1.1.weights": ("uniform<4>", "uniform<8>")}, 1 + 2 + 2),
        ({"stage1.weights": ("uniform<8>",), "stage1.2.conv2.weights": ("uniform<4>", "uniform<8>")}, 1 + 1 + 2),
        (
            {
                "stage1.weights": ("uniform<4>", "uniform<8>"),
                "stem.weights": ("uniform<8>",),
                "stage1.0.weights": ("uniform<4>", "uniform<6>"),
            },
            2 + 2 * 2 + 2 * 2,
        ),
        (
            {
                "stage1.weights": ("uniform<8>",),
                "stage1.density": (0.5,),
                "stage1.0.density": (0.5, 1.0),
                "stage1.0.granularity": (4, 8),
            },
            3 * (2 + 1),
        ),
        ({"stage1.weights": ("uniform<8>",), "stage2.density": (0.5, 1.0), "stage2.granularity": (4, 8)}, 3 * (2 + 1)),
    ],
)
def test_no_two_points_are_one_network(read, lines, count):
    dimensions = NARROW | lines | {"frames_per_s": (0,)}
    space = read(f"architectures = resnet-cifar\n{ChoiceSpace(dimensions)}", BOARD)
    names = space.choices.dimensions
    points = [space.choices.settled(dict(zip(names, values))) for values in itertools.product(*names.values())]
    assert space.choices.size == count
    assert len({str(space.candidate(point)) for point in points}) == len({str(point) for point in points}) == count


def test_gates_few_bits_and_settings_of_blocks_are_in_no_table(read):
    text = "architectures = resnet-cifar\n"
    for line, is_plain, is_tabled in (
        ("stage2.density = 1.0\n", True, True),
        ("stage2.density = 0.5 | 1.0\n", False, False),
        ("stage3.activations = uniform<8>\n", True, True),
        ("stage3.activations = uniform<6>\n", False, False),
        ("stage3.granularity = 4\n", True, True),
        ("stage1.0.weights = uniform<4>\n", True, False),
        ("linear.weights = uniform<8>\n", True, False),
        ("stage1.0.conv2.activations = uniform<4>\n", False, False),
        ("stage1.0.density = 0.5\n", False, False),
    ):
        space = read(text + line, BOARD)
        assert space.is_tabled is is_tabled
        lowest = {name: values[0] for name, values in space.choices.dimensions.items()}
        assert space.candidate(space.choices.settled(lowest)).has_plain_activations is is_plain


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
        ("stage1.5.weights = uniform<8>", CPU, r"blocks up to stage1\.4, the last one of the deepest network"),
        ("stage1.2.weights = uniform<8>\nstage1.depth = 1 | 2", CPU, r"blocks up to stage1\.1, the last one"),
        ("stage1.0.conv1.weights = uniform<4>", CPU, "accepted are some of"),
        ("stage1.0.speed = 1", CPU, r"such as stage1\.0\.weights and linear\.weights"),
        ("stage1.0.conv3.weights = uniform<8>", CPU, r"got stage1\.0\.conv3\.weights"),
        ("stage1.0.conv1.density = 0.5", CPU, r"got stage1\.0\.conv1\.density"),
        ("stem.density = 0.5", CPU, r"got stem\.density"),
        ("stage1.block1.weights = uniform<8>", CPU, r"such as stage1\.0\.weights"),
        ("stage1.0.activations = uniform<8>", GPU, r"got stage1\.0\.activations"),
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
