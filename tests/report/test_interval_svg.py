"""Intervals drawn: every row of a column on one scale."""

import math
import re

from visionsweep.analysis.intervals import Estimate
from visionsweep.report.page.interval_svg import WIDTH, axis, common_scale, strip

NONE = Estimate(math.nan, math.nan, math.nan)


def dot(drawn: str) -> float:
    return float(re.search(r'cx="([\d.]+)"', drawn)[1])


def ends(drawn: str) -> tuple[float, float]:
    return tuple(map(float, re.search(r'class="bar" d="M([\d.]+) \d+H([\d.]+)"', drawn).groups()))


def test_dots_and_bars_lie_where_their_numbers_are():
    estimates = [Estimate(0.2, 0.1, 0.3), Estimate(0.5, 0.3, 0.9)]
    scale = common_scale(estimates)
    first, second = (strip(each, scale, "possible") for each in estimates)
    assert ends(first)[0] < dot(first) < ends(first)[1] == ends(second)[0] < dot(second)
    assert (scale.low, scale.high) == (0.1, 0.9)
    middle = (ends(first)[0] + ends(second)[1]) / 2
    assert dot(second) == middle == WIDTH / 2


def test_one_outlier_runs_off_the_scale_and_leaves_room_for_the_rest():
    estimates = [Estimate(0.2 + n / 100, 0.15, 0.3) for n in range(8)] + [Estimate(9, 8, 10)]
    scale = common_scale(estimates, outliers=True)
    assert scale.high < 1 and common_scale(estimates).high == 10
    drawn = strip(estimates[-1], scale, "worse")
    assert 'class="off"' in drawn and "circle" not in drawn


def test_zero_is_on_the_scale_where_asked_for():
    scale = common_scale([Estimate(0.3, 0.2, 0.4)], zero=True)
    assert scale.holds(0) and not common_scale([Estimate(0.3, 0.2, 0.4)]).holds(0)


def test_undefined_numbers_are_not_drawn():
    assert common_scale([NONE, NONE]) is None
    scale = common_scale([NONE, Estimate(0.5, math.nan, math.nan)])
    assert "circle" not in strip(NONE, scale, "unknown")
    alone = strip(Estimate(0.5, math.nan, math.nan), scale, "recommended")
    assert "circle" in alone and "bar" not in alone


def test_axis_labels_its_ends_and_zero_where_they_do_not_overlap():
    def labels(low: float, high: float) -> list[str]:
        scale = common_scale([Estimate(low, low, high)], zero=True, width=260)
        return re.findall(r">([^<]+)</text>", axis(scale))

    assert labels(-0.5, 0.5) == ["−0.50", "0", "+0.50"]
    assert labels(-0.01, 0.5) == ["0", "+0.50"]
    assert labels(0.1, 0.5) == ["0", "+0.50"]
