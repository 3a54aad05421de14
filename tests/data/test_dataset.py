"""Batches of images: one generator decides them, whoever decodes and whatever else is drawn."""

import numpy as np
import pytest
import torch
from PIL import Image

from visionsweep.config.schema import AugmentationConfig
from visionsweep.data import dataset
from visionsweep.data.dataset import ImageBatches, ImageDataset
from visionsweep.data.images import ImageFile, digest_of
from visionsweep.data.transforms import build_augmentation, resized


@pytest.fixture
def augmented(tmp_path) -> ImageDataset:
    """Nine pictures of noise, changed at random whenever they are read."""
    noise = np.random.default_rng(0)
    files = []
    for index in range(9):
        path = tmp_path / f"{index}.png"
        Image.fromarray(noise.integers(0, 256, (24, 24, 3), np.uint8)).save(path)
        files.append(ImageFile(path, index, digest_of(path.read_bytes())))
    return ImageDataset(
        files, resized(16).build(build_augmentation(AugmentationConfig("trivial_augment")))
    )


def epochs(dataset, *, workers=0, seed=5, count=2):
    loader = ImageBatches(dataset, 4, shuffle=torch.Generator().manual_seed(seed), workers=workers)
    return [
        tuple(map(torch.cat, zip(*loader, strict=True)))  # pixels, labels
        for _ in range(count)
    ]


def test_augmented_batches_are_bitwise_identical_for_any_number_of_workers(augmented):
    alone, shared = epochs(augmented), epochs(augmented, workers=2)
    for (pixels, labels), (other_pixels, other_labels) in zip(alone, shared, strict=True):
        assert torch.equal(labels, other_labels) and torch.equal(pixels, other_pixels)


def test_augmentations_do_not_depend_on_earlier_random_numbers(augmented):
    torch.manual_seed(1)
    [(expected, _)] = epochs(augmented, count=1)
    torch.manual_seed(2)
    torch.rand(7)
    [(found, _)] = epochs(augmented, count=1)
    assert torch.equal(found, expected)


def test_resized_pixels_are_kept_and_augmented_anew(augmented, monkeypatch):
    augmentation = build_augmentation(AugmentationConfig("trivial_augment"))
    steps = resized(16).resizing(augmentation)
    kept = ImageDataset(augmented.files, resized(16).build_rest(augmentation), None, steps, kept=6)
    expected, found = epochs(augmented), epochs(kept)
    for pair, other in zip(expected, found, strict=True):
        assert all(map(torch.equal, pair, other))
    read = []
    content = dataset.read_content
    monkeypatch.setattr(dataset, "read_content", lambda file: read.append(file) or content(file))
    epochs(kept, count=3)
    assert len(read) == 3 * (9 - 6)


def test_nothing_is_kept_of_images_that_are_cropped_at_random():
    assert resized(16).resizing(build_augmentation(AugmentationConfig("c", crop_scale=0.5))) == []


def test_each_epoch_has_a_new_order_and_new_augmentations(augmented):
    (first, labels), (second, other_labels) = epochs(augmented)
    assert labels.tolist() != other_labels.tolist()
    assert sorted(labels.tolist()) == sorted(other_labels.tolist()) == list(range(9))
    same = [
        torch.equal(first[labels == label], second[other_labels == label]) for label in range(9)
    ]
    assert sum(same) < 5
    [(other, _)] = epochs(augmented, seed=6, count=1)
    assert not torch.equal(other, first)


@pytest.mark.parametrize("shuffled", [True, False])
def test_iterating_over_images_leaves_the_random_state_unchanged(augmented, shuffled):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    shuffle = torch.Generator().manual_seed(5) if shuffled else None
    for _ in ImageBatches(augmented, 4, shuffle=shuffle):
        pass
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [(2, [2, 2, 2, 3]), (4, [4, 5]), (8, [9]), (5, [5, 4]), (9, [9]), (20, [9])],
)
def test_single_remaining_image_joins_the_batch_before_it(augmented, batch_size, sizes):
    def batches(**options):
        shuffle = torch.Generator().manual_seed(5)
        return ImageBatches(augmented, batch_size, shuffle=shuffle, **options)

    joined, apart = batches(join_single=True), batches()
    assert len(joined) == len(sizes)
    for _ in range(2):  # epochs
        pairs = list(joined)
        assert [len(labels) for _, labels in pairs] == sizes
        for ours, theirs in zip(zip(*pairs, strict=True), zip(*apart, strict=True), strict=True):
            assert torch.equal(torch.cat(ours), torch.cat(theirs))  # images, order, augmentation
