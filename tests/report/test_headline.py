"""The first sentences: which run is recommended, at what price, or why none is."""

import msgspec
import pytest

from visionsweep.analysis.comparison import Comparison
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.learning_curve import LearningCurve
from visionsweep.report.effects import curve_sentence
from visionsweep.report.evidence import Evidence, Row, gather
from visionsweep.report.headline import headline, labels_of
from visionsweep.report.hints import hints
from visionsweep.report.recommendation import Price, cheapest_close
from visionsweep.runs.discovery import Run

APART, CLOSE, TIED = (
    Comparison(Estimate(0.1, 0.05, 0.15), error, 0.01, told, not told)
    for error, told in ((0.02, True), (0.2, False), (0.05, False))
)
MARKS = {
    "=": ("possible", CLOSE),
    "~": ("possible", TIED),
    ">": ("worse", APART),
    "?": ("unknown", None),
}


@pytest.fixture
def evidence(tmp_path, make_record):
    """Evidence of a best run `a` and others `b`, `c`, ... that are compared with it as marked."""

    def make(
        marks: str,
        recommended: int | None = None,
        needed: int | None = None,
        withheld: str = "inseparable",
    ) -> Evidence:
        runs = [
            Run(
                tmp_path / name,
                make_record(name, 0.2 + 0.1 * n, model=name, parameters=(9 - n) * 10**6),
            )
            for n, name in enumerate("abcde"[: len(marks) + 1])
        ]
        others = [Row(run, *MARKS[mark]) for run, mark in zip(runs[1:], marks, strict=True)]
        take = None if recommended is None else runs[recommended]
        price = Price(0.15, 0.034) if recommended else None
        rows = [Row(runs[0], "possible", None), *others]
        return Evidence(rows, take, withheld if take is None else "", price, needed)

    return make


def said(found: Evidence) -> str:
    line = headline(found, labels_of(found))
    return f"{line.best} {line.advice}"


def test_the_best_run_is_recommended_with_how_many_could_be_better(evidence):
    assert "a, 10pct, 1 epoch has the lowest validation loss" in said(evidence(">", 0))
    assert said(evidence(">", 0)).endswith("and is recommended. The other one cannot be better.")
    assert said(evidence(">>", 0)).endswith("None of the 2 others can be better.")
    assert "1 of the 2 others could be better" in said(evidence("~>", 0))
    assert said(evidence(">?", 0)).endswith("(1 more run could not be compared).")


def test_a_cheaper_run_is_recommended_with_what_it_may_cost(evidence):
    text = said(evidence("==>", 2))
    assert text.startswith("c, 10pct, 1 epoch is recommended")
    assert "7.0M instead of 9.0M parameters" in text
    assert "up to +0.15 loss and 3.4 points of accuracy" in text
    assert "a, 10pct, 1 epoch has the lowest validation loss" in text


@pytest.mark.parametrize(
    ("marks", "withheld", "reason"),
    [
        ("=", "inseparable", "each of the runs could be the best"),
        ("=", "few images", "fewer than 5 validation images"),
        ("=", "seeds", "Leave out --expand-seeds"),
        ("??", "unknown", "predictions are missing"),
        ("=", "untrained", "model=effnetlite0,effnetlite2"),
    ],
)
def test_a_withheld_recommendation_says_why_and_what_to_do(evidence, marks, withheld, reason):
    text = said(evidence(marks, withheld=withheld))
    assert "No run is recommended: " in text and reason in text
    if withheld == "inseparable":
        assert "b, 10pct, 1 epoch is the cheapest within one standard error" in text


@pytest.mark.parametrize(
    ("milliseconds", "untrained", "cheapest"),
    [
        ((20, 10, 12), "", "c"),  # b is faster, c has fewer parameters
        ((20, 10, 21), "", "b"),  # c is slower than the best
        ((20, 10, 12), "c", "b"),
        ((20, 21, 21), "", "a"),
    ],
)
def test_cost_decides_by_the_rule_of_the_recommendation(
    evidence, milliseconds, untrained, cheapest
):
    found = evidence("==")
    for row, time in zip(found.rows, milliseconds, strict=True):
        row.run.record.model = msgspec.structs.replace(row.run.record.model, milliseconds=time)
        row.run.record.weights = "random" if row.run.record.name == untrained else "IMAGENET1K_V1"
    runs, comparisons = [r.run for r in found.rows], [r.comparison for r in found.rows]
    assert runs[cheapest_close(runs, comparisons)].record.name == cheapest
    assert said(found).endswith(
        "none within one standard error of it is cheaper."
        if cheapest == "a"
        else f"{cheapest}, 10pct, 1 epoch is the cheapest within one standard error."
    )


def test_a_run_alone_is_not_recommended_over_others(evidence):
    assert said(evidence("", withheld="alone")).endswith(
        "No other run was scored on the same images."
    )


def test_the_edge_of_the_grid_and_undertrained_heads_are_pointed_out(tmp_path, make_record):
    rows = []
    for n, (epochs, lr) in enumerate(((10, 0.01), (5, 0.001))):
        record = make_record(f"run-{n}", *[0.3 + n] * epochs, lr=lr)
        record.temperature = 0.4
        rows.append(Row(Run(tmp_path / f"{n}", record), "possible", None))
    first, second, third, offer = hints(Evidence(rows))
    assert "try epochs=20" in first and "try optimizer.lr=0.02" in second
    assert "temperature of 0.40" in third and "undertrained" in third
    assert "evidence=cross_fit" in offer
    rows.reverse()
    assert not any("epochs=" in line for line in hints(Evidence(rows)))


def test_frozen_random_backbones_are_ranked_and_none_is_recommended(simulated_sweep):
    """None of two models that saw no image before is better, whatever the losses say."""
    found = simulated_sweep(weights="random")
    assert found.recommended is None and len(found.rows) == 8
    line = headline(found, labels_of(found))
    assert "random weights" in line.advice and "model=effnetlite0,effnetlite2" in line.advice


def test_of_random_and_pretrained_backbones_a_pretrained_one_is_recommended(
    simulate_sweep, tmp_path
):
    real = simulate_sweep(tmp_path)
    random = simulate_sweep(tmp_path, models=("cheap",), weights="random", folder="other")
    found = gather([row.run for row in (*real.rows, *random.rows)])
    assert {row.run.record.weights for row in found.rows} == {"IMAGENET1K_V1", "random"}
    assert found.recommended is not None and found.recommended.record.weights == "IMAGENET1K_V1"


def test_network_that_was_trained_from_random_weights_may_be_recommended(simulated_sweep):
    found = simulated_sweep(weights="random")
    runs = []
    for row in found.rows:
        model = msgspec.structs.replace(row.run.record.model, checkpoint="model.safetensors")
        row.run.record.model = model
        runs.append(row.run)
    assert gather(runs).recommended is not None


@pytest.mark.parametrize(
    ("marks", "needed", "said"),
    [
        ("=", 238, "Separating the first two would take at least 240 more validation images."),
        ("=", None, None),
        (">", 0, None),
        (">=", 30, None),  # the first two are apart already
    ],
)
def test_images_needed_are_stated_where_they_are_known(evidence, marks, needed, said):
    found = evidence(marks, 0, needed)
    assert headline(found, labels_of(found)).more == said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            (-0.05, -0.08, -0.02),
            ": 0.05 lower than with those [0.02, 0.08]. A loss 10% lower would take about 620 "
            "training images [540, 1,100].",
        ),
        ((0.05, 0.02, 0.08), ": 0.05 higher than with those [0.02, 0.08]."),
        (
            (-0.01, -0.06, 0.04),
            ": not a significant change (change −0.01 [−0.06, +0.04]). A loss 10% lower would take "
            "about 2,000 training images (at least 560).",
        ),
    ],
)
def test_forecast_for_twice_the_images_is_stated_in_words(change, said):
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
