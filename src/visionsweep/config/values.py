"""Predicates of values that types and bounds cannot express."""

import math
import re
from collections.abc import Mapping
from itertools import chain

from visionsweep.storage.checksums import is_checksum

TABLE_COLUMNS = ("path", "label", "split", "group")  # that a table of images may have


def parse_size(text: str) -> int:
    """Convert `20 GB` to bytes; kB, MB, GB, and TB are powers of 1000.

    Raises:
        ValueError: if the text is not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?)B?\s*", text)
    if not match:
        raise ValueError(f"{text!r} is not a size; write 500 MB or 20 GB")
    return int(float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " "))


def is_size(text: str) -> bool:
    """Return whether a text is a size above 0."""
    try:
        return parse_size(text) > 0
    except ValueError:
        return False


def are_checksums(value: Mapping[str, list[str]]) -> bool:
    """Return whether all values are lists of checksums."""
    return all(map(is_checksum, chain.from_iterable(value.values())))


def are_shares(value: Mapping[str, float]) -> bool:
    """Return whether all values are shares of a whole, above 0 and at most 1."""
    return all(0 < share <= 1 for share in value.values())


def are_split_folders(value: Mapping[str, str | None]) -> bool:
    """Return whether split names map to folders, with one for `train` if any is given."""
    return value.keys() <= {"train", "val", "test"} and (
        bool(value.get("train")) or not any(value.values())
    )


def is_gray_range(value: list[float]) -> bool:
    """Return whether a list holds two finite numbers, the lower one first."""
    return len(value) == 2 and -math.inf < float(value[0]) < float(value[1]) < math.inf


def are_columns(value: Mapping[str, str | None]) -> bool:
    """Return whether only columns that a table of images can have are named."""
    return value.keys() <= set(TABLE_COLUMNS)


def captures_group(value: str) -> bool:
    """Return whether a text is a regular expression with one capturing group."""
    try:
        return re.compile(value).groups == 1
    except re.error:
        return False
