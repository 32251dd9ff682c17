from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.architecture import SPACES, Architecture, ArchitectureSpace, Stage, StageSpace, architecture_space
from espalier.core.errors import InvalidInputError


@pytest.mark.parametrize("name", SPACES)
@given(seed=st.integers(0, 10_000))
def test_architectures_round_trip(name, seed):
    space = SPACES[name]
    architecture = space.sample(np.random.default_rng(seed))
    assert Architecture.parse(str(architecture)) == architecture
    assert space.architecture(space.point(architecture)) == architecture
    for stage, most in zip(architecture.stages, space.largest.stages):
        assert stage.inner % 8 == stage.width % 8 == 0
        assert (stage.depth, stage.width, stage.inner, stage.kernel) <= (
            most.depth,
            most.width,
            most.inner,
            most.kernel,
        )


def test_resnets_are_in_the_space():
    space = SPACES["resnet-cifar"]
    assert str(space.largest) == "resnet(5x16k3e1s1;5x32k3e1s2;5x64k3e1s2)"
    space.point(Architecture.parse("resnet(1x16k3e1s1;1x32k3e1s2;1x64k3e1s2)"))


@pytest.mark.parametrize(
    "text", ["resnet", "resnet()", "resnet(1x16)", "vgg(1x16k3e1s1)", "resnet(0x16k3e1s1)", "resnet(1x12k3e1s1)",
             "resnet(1x16k2e1s1)", "resnet(1x16k3e1s3)", "resnet(1x16k3e0s1)"],
)  # fmt: skip
def test_impossible_architectures_are_refused(text):
    with pytest.raises(InvalidInputError, match="accepted"):
        Architecture.parse(text)


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ((), "no dimensions"),
        ((StageSpace((), (16,)),), "stage1.depth"),
        ((StageSpace((1,), (16,), ()),), "stage1.kernel"),
        ((StageSpace((1,), (12,)),), "multiples of 8"),
    ],
)
def test_empty_and_contradictory_spaces_are_refused(stages, words):
    with pytest.raises(InvalidInputError, match=words):
        ArchitectureSpace("mine", "resnet", stages)


def test_architectures_of_other_spaces_are_refused():
    space = SPACES["resnet-cifar"]
    with pytest.raises(InvalidInputError, match="stage1.width"):
        space.point(Architecture("resnet", (Stage(1, 24), *space.smallest.stages[1:])))
    with pytest.raises(InvalidInputError, match="is not of the space"):
        space.point(SPACES["mobilenet-cifar"].smallest)
    with pytest.raises(InvalidInputError, match="accepted are resnet-cifar"):
        architecture_space("vgg")
