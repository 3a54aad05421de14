"""The report page says what the evidence says."""

import json
import re
from dataclasses import replace

import pytest

from visionsweep.report.evidence import Evidence
from visionsweep.report.page import difference_plot, leaderboard_table
from visionsweep.runs import predictions_csv


def test_each_run_has_its_interval_and_its_mark(written, simulated_sweep):
    evidence = simulated_sweep()
    page = written(evidence)
    shown = page.lines
    assert len(shown) == len(evidence.rows) == 8
    marks = {"recommended": "recommended", "possible": "could be best", "worse": "not the best"}
    assert {row.mark for row in evidence.rows} == set(marks)
    for line, row in zip(shown, evidence.rows, strict=True):
        loss = row.run.record.evaluation["val"]["loss"]
        assert marks[row.mark] in line.text
        assert f"{loss.value:.3f} [{loss.low:.3f}, {loss.high:.3f}]" in line.text
        assert line.text.endswith(row.run.record.name)
        assert len(line.every("svg")) == (2 if row.comparison else 1)
    taken = [line for line in shown if "recommended" in line.text]
    assert [line.text.endswith(evidence.recommended.record.name) for line in taken] == [True]


def test_the_first_sentences_say_what_is_recommended_and_what_it_may_cost(written, simulated_sweep):
    evidence = simulated_sweep()
    lead = written(evidence).every("p", **{"class": "lead"})[0].text
    assert lead.startswith("effnetb0, 20pct, 10 epochs is recommended")
    assert "effnetb2, 20pct, 10 epochs has the lowest validation loss, 0.18 [" in lead
    assert f"up to +{evidence.price.loss:.2f} loss" in lead
    assert f"{100 * evidence.price.accuracy:.1f} points of accuracy" in lead


@pytest.mark.parametrize("most", [1, 3, 10])
def test_figure_beside_the_verdict_shows_the_first_runs_and_the_recommended_one(
    written, simulated_sweep, monkeypatch, most
):
    monkeypatch.setattr(difference_plot, "MOST", most)
    evidence = simulated_sweep()
    page = written(evidence)
    (pair,) = page.every("div", **{"class": "pair"})
    (figure,) = pair.every("table", **{"class": "differences"})
    assert pair.every("p", **{"class": "lead"})
    lines = figure.every("tbody")[0].every("tr")
    assert len(lines) == (2 if most == 1 else min(most, 8))  # the second is recommended
    assert [line.attributes["class"] for line in lines] == [
        row.mark for row in evidence.rows[: len(lines)]
    ]
    assert lines[0].every("td")[-1].text == "best"
    difference = evidence.rows[1].comparison.difference.value
    assert float(lines[1].every("td")[-1].text.replace("−", "-")) == pytest.approx(
        difference, abs=5e-4
    )
    more = figure.every("tfoot")[0].every("td")[0].text
    assert more == (f"{8 - len(lines)} runs more below" if len(lines) < 8 else "")


def test_without_a_comparison_the_verdict_stands_alone(written, by_hand):
    page = written(by_hand(0.5, 0.6))
    assert not page.every("table", **{"class": "differences"})
    assert page.every("div", **{"class": "pair alone"})


def test_effects_and_the_learning_curve_are_stated_and_drawn(written, simulated_sweep):
    evidence = simulated_sweep()
    page = written(evidence)
    table = page.every("table", **{"class": "effects"})[0]
    said = {row.every("th")[0].text: row.text for row in table.every("tbody")[0].every("tr")}
    assert list(said) == ["effnetb2 over effnetb0", "20pct over 10pct", "10 epochs over 5"]
    assert "not significant" in said["effnetb2 over effnetb0"]
    assert "better" in said["20pct over 10pct"]
    data = json.loads(page.every("script", id="g1-learning-data")[0].text)
    assert data["images"] == [225, 450] and data["doubled_images"] == 900
    assert "With 900 training images, twice as many as the most tried here" in page.text


@pytest.mark.parametrize(("most", "lines"), [(1, 2), (7, 7), (8, 8)])
def test_page_of_very_many_runs_has_rows_for_the_first_and_the_recommended_run(
    written, simulated_sweep, monkeypatch, most, lines
):
    monkeypatch.setattr(leaderboard_table, "MOST", most)
    evidence = simulated_sweep()
    assert evidence.rows.index(next(r for r in evidence.rows if r.run is evidence.recommended)) == 1
    page = written(evidence)
    assert len(page.lines) == lines
    assert sum("recommended" in line.text for line in page.lines) == 1
    assert "8 runs compared" in page.text
    said = f"The first {most} of 8 runs{', and the recommended one' if most == 1 else ''}; all are"
    assert (said in page.text) == (most < 8)


def test_curves_hold_means_and_the_range_of_replicates(written, simulated_sweep):
    page = written(simulated_sweep(epochs=(4,), replicates=3))
    runs = json.loads(page.every("script", id="g1-curves-data")[0].text)
    mean, low, high = runs[0]["series"]["val.loss"]
    assert len(runs) == 4 and runs[0]["epochs"] == [1, 2, 3, 4]
    assert [round(h - m, 3) for m, h in zip(mean, high, strict=True)] == [0.02] * 4
    assert [round(m - x, 3) for m, x in zip(mean, low, strict=True)] == [0.02] * 4


def test_curves_end_beside_the_deployed_predictor_as_the_leaderboard_scores_it(
    written, simulated_sweep
):
    evidence = simulated_sweep(epochs=(4,), replicates=3)
    scored = [row.run.record for row in evidence.rows[:3]]  # the last was not, as in old records
    for record in scored:
        record.deployed = record.evaluation
    page = written(evidence)
    assert "A diamond is the deployed predictor" in page.text
    runs = json.loads(page.every("script", id="g1-curves-data")[0].text)
    assert runs[3]["deployed"] == {}
    for run, record in zip(runs, scored, strict=False):
        deployed = record.deployed
        expected = {
            f"{s}.{m}": deployed[s][m].value for s in deployed for m in ("loss", "accuracy")
        }
        assert run["deployed"] == pytest.approx(expected, rel=1e-4)


def test_one_replicate_has_no_range(written, simulated_sweep):
    page = written(simulated_sweep(epochs=(2,), replicates=1))
    runs = json.loads(page.every("script", id="g1-curves-data")[0].text)
    assert all(series[1:] == [[], []] for run in runs for series in run["series"].values())
    assert "replicates" not in page.every("p", **{"class": "reading"})[0].text


def test_the_best_run_is_shown_with_its_confusions_and_mistakes(written, simulated_sweep):
    evidence = simulated_sweep()
    page = written(evidence)
    predictions = predictions_csv.read(evidence.chosen, "test")
    matrix = page.every("table", **{"class": "confusion"})[0]
    counts = [[int(c.text) for c in r.every("td")] for r in matrix.every("tbody")[0].every("tr")]
    assert counts == predictions.confusion.tolist()
    assert sum(counts[i][i] for i in range(3)) == predictions.correct.sum()
    assert f"{predictions.correct.sum()} of 60 test images right" in matrix.every("caption")[0].text
    figures = page.every("figure")
    assert len(figures) == 60 - predictions.correct.sum() > 0
    assert all(
        each.every("img")[0].attributes["src"][:23] == "data:image/jpeg;base64," for each in figures
    )
    assert all(int(each.every("img")[0].attributes["width"]) <= 160 for each in figures)
    shares = [float(re.search(r"([\d.]+)%", each.text)[1]) for each in figures]
    assert shares == sorted(shares, reverse=True)


def test_of_many_classes_the_most_frequent_confusions_are_listed(written, simulated_sweep):
    page = written(simulated_sweep(classes=[f"class {n}" for n in range(21)], epochs=(1,)))
    assert not page.every("table", **{"class": "confusion"})
    captions = [caption.text for caption in page.every("caption")]
    assert any("the most frequent confusions" in caption for caption in captions)


def test_runs_scored_on_other_images_stand_in_another_section(written, simulated_sweep):
    page = written(
        simulated_sweep(epochs=(5,)),
        simulated_sweep(epochs=(5,), val_images="x", dataset="cats", folder="other"),
    )
    sections = page.every("section", **{"class": "group"})
    assert [section.every("h2")[0].text for section in sections] == ["pizza_steak_sushi", "cats"]
    ids = [
        each.attributes["id"]
        for each in page.every("section", "h3", "div", "script")
        if "id" in each.attributes
    ]
    assert len(ids) == len(set(ids))
    links = [link.attributes["href"] for link in page.every("nav")[0].every("a")]
    assert links == [f"#{section.attributes['id']}" for section in sections]


@pytest.mark.parametrize(
    ("facts", "said"),
    [({"weights": "random"}, "random weights"), ({"dataset": "sample"}, "rendered")],
)
def test_random_weights_and_rendered_images_are_warned_of(written, simulated_sweep, facts, said):
    warnings = written(simulated_sweep(epochs=(1,), **facts)).every("p", role="note")
    assert len(warnings) == 1 and said in warnings[0].text


def test_runs_with_coinciding_curves_are_explained(written, simulated_sweep, by_hand):
    said = "share a line as far as the shorter one goes"
    assert said not in written(simulated_sweep()).text
    long, short = by_hand(0.3).rows[0], by_hand(0.4, 0.5).rows[1]
    short.run.record.history = long.run.record.history[:1]
    assert said in written(Evidence([long, short])).text


def test_runs_with_equal_settings_are_told_apart_by_their_folders(written, by_hand, tmp_path):
    def names(evidence: Evidence) -> list[str]:
        data = written(evidence).every("script", id="g1-curves-data")[0].text
        return [run["name"] for run in json.loads(data)]

    same = "effnetb0, 10pct, 2 epochs"
    evidence = by_hand(0.3, 0.4)
    assert names(evidence) == [f"{same} (run-0)", f"{same} (run-1)"]
    rows = [
        replace(row, run=replace(row.run, directory=tmp_path / sweep / "run"))
        for row, sweep in zip(evidence.rows, ("monday", "tuesday"), strict=True)
    ]
    assert names(replace(evidence, rows=rows)) == [f"{same} (monday)", f"{same} (tuesday)"]
