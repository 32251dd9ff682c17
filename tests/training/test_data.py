"""espalier.training.data: augmentation against slices, order, normalisation."""

import numpy as np
import pytest

from espalier.frontend.bundled import normalise

torch = pytest.importorskip("torch")

from espalier.training.data import CROP, Images, augmented, normalised  # noqa: E402

PICTURES = np.random.default_rng(0).integers(0, 256, (10, 6, 8, 3), np.uint8)
LABELS = np.arange(10)


def test_augmentation_shifts_and_mirrors():
    shifts = torch.tensor([[CROP, CROP], [0, 2 * CROP], [5, 3]])
    flips = torch.tensor([False, False, True])
    got = augmented(torch.from_numpy(PICTURES[:3]), shifts, flips).numpy()
    bordered = np.pad(PICTURES, ((0, 0), (CROP, CROP), (CROP, CROP), (0, 0)))
    np.testing.assert_array_equal(got[0], PICTURES[0])
    np.testing.assert_array_equal(got[1], bordered[1, :6, 8:16])
    np.testing.assert_array_equal(got[2], bordered[2, 5:11, 3:11][:, ::-1])


def test_values_are_those_of_the_bundled_sample():
    got = normalised(torch.from_numpy(PICTURES))
    assert got.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(got, normalise(PICTURES), rtol=1e-6, atol=1e-6)


def test_an_epoch_has_every_image_once_in_an_order_of_its_own():
    images = Images(PICTURES, LABELS, torch.device("cpu"))

    def order(seed: int) -> list[int]:
        return [int(y) for _, ys in images.batches(5, torch.Generator().manual_seed(seed)) for y in ys]

    assert sorted(order(0)) == LABELS.tolist()
    assert order(0) == order(0) != order(1)


def test_an_incomplete_batch_is_left_out_unless_it_is_the_only_one():
    images = Images(PICTURES, LABELS, torch.device("cpu"))
    assert [len(y) for _, y in images.batches(4, torch.Generator())] == [4, 4]
    assert [len(y) for _, y in images.batches(16, torch.Generator())] == [10]
    assert [len(y) for _, y in images.plain_batches(4)] == [4, 4, 2]
