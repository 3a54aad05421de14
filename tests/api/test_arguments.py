"""Python values arrive in the configuration as they are."""

from pathlib import Path

import numpy as np
import pytest

from visionsweep.api.arguments import argument
from visionsweep.config.overrides import read
from visionsweep.errors import UserError
from visionsweep.runs.recorded_config import composed


def configured(key, value):
    """The value of a setting in the configuration that Hydra composes from it."""
    config = composed(*read([argument(key, value)]).settings)
    section, _, name = key.rpartition(".")
    return (config[section] if section else config)[name]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 7),
        ("epochs", np.int64(7)),
        ("optimizer.lr", 1e-5),
        ("optimizer.lr", np.float64(0.25)),
        ("data.verify", True),
        ("data.name", "10"),
        ("data.name", "a, b: (c) 'd' \"e\""),
        ("data.name", "null"),
        ("data.gray_range", (0, 4095)),
        ("data.splits", {"train": "A b", "val": "B", "test": None}),
        ("data.root", "photos, of (1) 'me'"),
        ("data.root", Path("${photos}")),
        ("resume", None),
    ],
)
def test_value_is_configured_as_given(key, value):
    expected = str(value) if isinstance(value, Path) else value
    expected = list(value) if isinstance(value, tuple) else expected
    actual = configured(key, value)
    assert actual == expected and (isinstance(actual, str) == isinstance(expected, str))


def test_list_is_swept():
    assert argument("model", ["effnetb0", "effnetb2"]) == "model=effnetb0,effnetb2"
    assert argument("data.gray_range", [(0, 1), (0, 2)]) == "data.gray_range=[0,1],[0,2]"
    assert argument("epochs", range(1, 3)) == "epochs=1,2"


@pytest.mark.parametrize("value", [[], object(), {1, 2}])
def test_what_no_setting_is_is_refused(value):
    with pytest.raises(UserError) as caught:
        argument("epochs", value)
    assert caught.value.where == "epochs" and caught.value.hint
