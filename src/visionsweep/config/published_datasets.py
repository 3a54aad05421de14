"""Data sets of torchvision whose images have one class each, and the arguments of their splits.

Those with their own download code only; PCAM needs h5py, others have no classes or several.
"""

from collections.abc import Mapping
from typing import Any

Splits = Mapping[str, Mapping[str, Any]]  # arguments of the class by split

_WHOLE: Splits = {"train": {}}  # without official splits
_BY_TRAIN: Splits = {"train": {"train": True}, "test": {"train": False}}
_TRAIN_TEST: Splits = {split: {"split": split} for split in ("train", "test")}
_ALL: Splits = {split: {"split": split} for split in ("train", "val", "test")}

TORCHVISION_DATASETS: Mapping[str, Splits] = {
    "CIFAR10": _BY_TRAIN,
    "CIFAR100": _BY_TRAIN,
    "Caltech101": _WHOLE,
    "Caltech256": _WHOLE,
    "Country211": {**_ALL, "val": {"split": "valid"}},
    "DTD": _ALL,
    "EuroSAT": _WHOLE,
    "FGVCAircraft": _ALL,
    "FashionMNIST": _BY_TRAIN,
    "Flowers102": _ALL,
    "Food101": _TRAIN_TEST,
    "GTSRB": _TRAIN_TEST,
    "Imagenette": {split: {"split": split} for split in ("train", "val")},
    "KMNIST": _BY_TRAIN,
    "MNIST": _BY_TRAIN,
    "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}},
    "RenderedSST2": _ALL,
    "STL10": _TRAIN_TEST,
    "SUN397": _WHOLE,
    "SVHN": _TRAIN_TEST,
    "StanfordCars": _TRAIN_TEST,
    "USPS": _BY_TRAIN,
}
