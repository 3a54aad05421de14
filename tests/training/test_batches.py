"""Batches cut out of tensors: every image once, beside its label, in an order that repeats."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from visionsweep.training.batches import TensorBatches


@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (8, 4), (9, 4), (3, 32), (1, 1)])
def test_batches_of_tensors_are_those_of_a_data_loader(count: int, batch_size: int):
    inputs, labels = torch.rand(count, 5), torch.arange(count) % 2
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=batch_size)
    ours = list(TensorBatches(inputs, labels, batch_size))
    theirs = list(loader)
    assert len(ours) == len(theirs)
    for (x, y), (u, v) in zip(ours, theirs, strict=True):
        assert torch.equal(x, u) and torch.equal(y, v)


def test_shuffled_batches_hold_every_image_once_beside_its_own_label():
    inputs = torch.arange(23).float().unsqueeze(1)
    batches = TensorBatches(inputs, torch.arange(23), 5, [torch.Generator().manual_seed(0)])
    drawn = list(batches)
    assert [y.shape for _, y in drawn] == [(1, 5)] * 4 + [(1, 3)]
    assert all(torch.equal(x.squeeze(2).long(), y) for x, y in drawn)
    assert sorted(torch.cat([y[0] for _, y in drawn]).tolist()) == list(range(23))


def test_each_drawn_image_is_one_of_its_views_with_its_label():
    inputs = torch.arange(20).float().view(5, 4, 1)
    sources = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    samples = torch.tensor([[0, 1, 2], [4, 4, 3]])
    batches = TensorBatches(inputs, torch.arange(5), 2, sources, samples=samples)
    drawn, truth = zip(*[batch for _ in range(30) for batch in batches], strict=True)
    rows, labels = torch.cat(drawn, 1).squeeze(2).long(), torch.cat(truth, 1)
    assert torch.equal(rows // 4, labels)
    assert [sorted(set(row.tolist())) for row in rows] == [list(range(12)), list(range(12, 20))]


def test_each_replicate_has_its_own_order():
    sources = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    batches = TensorBatches(torch.zeros(23, 1), torch.arange(23), 5, sources)
    first, second = torch.cat([y for _, y in batches], dim=1).tolist()
    assert first != second and sorted(first) == sorted(second) == list(range(23))


def orders(seed: int, epochs: int) -> list[list[int]]:
    batches = TensorBatches(
        torch.zeros(20, 1), torch.arange(20), 6, [torch.Generator().manual_seed(seed)]
    )
    return [torch.cat([y[0] for _, y in batches]).tolist() for _ in range(epochs)]


def test_order_is_new_in_each_epoch_and_reproducible():
    first, second, third = orders(5, 3)
    assert first != second != third != first
    assert orders(5, 3) == [first, second, third]
    assert orders(6, 1) != [first]
    assert first != list(range(20))


def test_order_does_not_depend_on_other_random_numbers():
    torch.manual_seed(1)
    quiet = orders(5, 2)
    torch.rand(100)
    assert orders(5, 2) == quiet
