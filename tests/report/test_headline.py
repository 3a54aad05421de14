"""The first sentences: who won, who cannot be told from it, what to take."""

import msgspec
import pytest

from visionsweep.analysis.comparison import Comparison
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.learning_curve import LearningCurve
from visionsweep.report.evidence import Evidence, Row, gather
from visionsweep.report.headline import curve_sentence, headline, labels_of
from visionsweep.runs.discovery import Run

APART, LEVEL = (Comparison(Estimate(0.1, 0.05, 0.15), 0.01, told) for told in (True, False))
MARKS = {"=": ("level", LEVEL), ">": ("behind", APART), "?": ("unknown", None)}


@pytest.fixture
def evidence(tmp_path, make_record):
    """Evidence of a leader `a` and others `b`, `c`, ... that stand to it as marked."""

    def make(marks: str, cheapest: int | None = None, needed: int | None = None) -> Evidence:
        runs = [
            Run(tmp_path / name, make_record(name, 0.2 + 0.1 * place, model=name))
            for place, name in enumerate("abcde"[: len(marks) + 1])
        ]
        others = [Row(run, *MARKS[mark]) for run, mark in zip(runs[1:], marks, strict=True)]
        take = None if cheapest is None else runs[cheapest]
        return Evidence([Row(runs[0], "leader", None), *others], take, needed, [], None)

    return make


@pytest.mark.parametrize(
    ("marks", "cheapest", "advice"),
    [
        ("", 0, "No other run was scored on the same images."),
        (">", 0, "It is significantly better than the other one: take it."),
        (">>", 0, "It is significantly better than each of the 2 others: take it."),
        (
            "=",
            1,
            "The other one is statistically tied with it and is cheaper: take b, 10pct, 1 epoch.",
        ),
        (
            "==>",
            2,
            "2 of the 3 others are statistically tied with it; the cheapest is c, 10pct, 1 epoch: "
            "take it.",
        ),
        (
            "=>",
            0,
            "1 of the 2 others is statistically tied with it, and none is cheaper: take it.",
        ),
        (
            ">?",
            0,
            "It is significantly better than the other one: take it "
            "(1 more run could not be compared).",
        ),
        (
            "??",
            None,
            "It cannot be compared with the others: their predictions were not kept.",
        ),
    ],
)
def test_advice_follows_from_the_runs_that_are_tied(evidence, marks, cheapest, advice):
    found = evidence(marks, cheapest)
    assert headline(found, labels_of(found)).advice == advice


def test_frozen_random_backbones_are_ranked_and_none_is_recommended(simulated_sweep):
    """None of two models that saw no image before is better, whatever the losses say."""
    found = simulated_sweep(weights="random")
    assert found.cheapest is None and len(found.rows) == 8
    said = headline(found, labels_of(found))
    assert "take" not in said.advice and "random weights" in said.advice
    assert "model=effnetlite0,effnetlite2" in said.advice and said.more is None


def test_of_random_and_pretrained_backbones_a_pretrained_one_is_recommended(
    simulate_sweep, tmp_path
):
    real = simulate_sweep(tmp_path)
    random = simulate_sweep(tmp_path, models=("cheap",), weights="random", folder="other")
    found = gather([row.run for row in (*real.rows, *random.rows)])
    assert {row.run.record.weights for row in found.rows} == {"IMAGENET1K_V1", "random"}
    assert found.cheapest is not None and found.cheapest.record.weights == "IMAGENET1K_V1"


def test_network_that_was_trained_from_random_weights_may_be_recommended(simulated_sweep):
    found = simulated_sweep(weights="random")
    runs = []
    for row in found.rows:
        model = msgspec.structs.replace(row.run.record.model, checkpoint="model.safetensors")
        row.run.record.model = model
        runs.append(row.run)
    assert gather(runs).cheapest is not None


@pytest.mark.parametrize(
    ("marks", "needed", "said"),
    [
        ("=", 238, "About 240 more validation images would separate the first two."),
        ("=", None, None),
        (">", 0, None),
        (">=", 30, None),  # the first two are apart already
    ],
)
def test_how_many_more_images_are_needed_is_said_where_they_are(evidence, marks, needed, said):
    found = evidence(marks, 0, needed)
    assert headline(found, labels_of(found)).more == said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((-0.05, -0.08, -0.02), ": 0.05 lower than with those [0.02, 0.08]."),
        ((0.05, 0.02, 0.08), ": 0.05 higher than with those [0.02, 0.08]."),
        (
            (-0.01, -0.06, 0.04),
            ": not a significant change (change −0.01 [−0.06, +0.04]).",
        ),
    ],
)
def test_twice_the_images_bring_what_the_curve_foretells(change, said):
    curve = LearningCurve(
        [], [], 1, [], [], [], [], 900, Estimate(0.2, 0.1, 0.3), Estimate(*change)
    )
    assert curve_sentence(curve) == (
        "With 900 training images, twice as many as the most tried here, expect a validation loss "
        f"of 0.20 [0.10, 0.30]{said}"
    )


def test_a_curve_through_several_runs_is_said_to_be_their_mean():
    curve = LearningCurve(
        [], [], 4, [], [], [], [], 900, Estimate(0.2, 0.1, 0.3), Estimate(0, 0, 0)
    )
    assert "expect, on average over 4 settings, a validation loss of" in curve_sentence(curve)
