"""Numbers as people read them."""

import math

import pytest

from visionsweep.analysis.intervals import Estimate
from visionsweep.report import numbers


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.2134, 0.1612, 0.2688, "0.21 [0.16, 0.27]"),
        (0.0213, 0.0161, 0.0269, "0.021 [0.016, 0.027]"),
        (12.3, 8.1, 15.9, "12.30 [8.10, 15.90]"),
        (4.3e32, 3.2e32, 5.5e32, "4.3e+32 [3.2e+32, 5.5e+32]"),
        (0.5, math.nan, math.nan, "0.500"),
        (math.nan, math.nan, math.nan, "diverged"),
    ],
)
def test_decimal_places_follow_from_the_width_of_the_interval(value, low, high, text):
    assert numbers.with_interval(Estimate(value, low, high)) == text


@pytest.mark.parametrize(
    ("value", "text"), [(-0.1234, "−0.123"), (0.1234, "+0.123"), (-0.0001, "0.000"), (0.0, "0.000")]
)
def test_negative_numbers_have_a_minus_sign_and_zero_has_no_sign(value, text):
    assert numbers.decimal(value, signed=True) == text


def test_percent_and_its_interval():
    assert numbers.percent(0.947).replace("\u202f", " ") == "94.7%"
    assert numbers.percent_interval(Estimate(0.947, 0.88, 1.0)) == "[88.0, 100.0]"
    assert numbers.percent_interval(Estimate(0.947, math.nan, math.nan)) == ""


def test_settings_and_counts():
    assert [numbers.setting(v) for v in (None, 0.1 + 0.2, 3, "x")] == ["none", "0.3", "3", "x"]
    assert numbers.counted(1, "class", "classes") == "1 class"
    assert numbers.counted(1000, "run") == "1,000 runs"
