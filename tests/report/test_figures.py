"""Which runs get figures in TensorBoard, and that they get them once."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from visionsweep.report.figures import draw_figures, runs_to_draw
from visionsweep.runs import predictions_csv

TAGS = ["confusion/val", "mistakes/val", "reliability/val"]


def figures_of(run) -> list[Path]:
    return sorted(run.directory.glob("*.figures"))


@pytest.fixture
def evidence(simulated_sweep):
    return simulated_sweep()


@pytest.fixture
def with_val(evidence):
    """The runs of a sweep whose tables also hold the validation images."""
    runs = [row.run for row in evidence.rows]
    for run in runs:
        test = predictions_csv.read(run, "test")
        assert test is not None
        table = [Path(path) for path in test.images], test.labels, test.probabilities
        predictions_csv.write(run.directory, test.classes, {"val": table, "test": table})
    return runs


def test_best_recommended_and_possible_runs_are_drawn_by_default(evidence):
    marks = {row.run.directory: row.mark for row in evidence.rows}
    drawn = runs_to_draw([evidence], "auto")
    assert evidence.rows[0].run in drawn and evidence.recommended in drawn
    assert {marks[run.directory] for run in drawn} == {"recommended", "possible"}
    assert len(drawn) < len(evidence.rows)
    assert runs_to_draw([evidence], "none") == []
    assert runs_to_draw([evidence], "all") == [row.run for row in evidence.rows]


def test_figures_are_written_once_to_an_event_file_of_their_own(with_val):
    run, other = with_val[:2]
    draw_figures([run])
    (file,) = figures_of(run)
    assert figures_of(other) == []
    events = EventAccumulator(str(file), {"images": 0}).Reload()
    assert sorted(events.Tags()["images"]) == TAGS
    final = run.record.metrics.final.epoch
    assert [event.step for event in events.Images("mistakes/val")] == [final]
    assert all(events.Images(tag)[0].width == 350 for tag in TAGS)
    content = file.read_bytes()
    draw_figures([run])
    assert figures_of(run) == [file] and file.read_bytes() == content
    file.unlink()
    draw_figures([run])
    assert len(figures_of(run)) == 1


def test_a_run_whose_figures_cannot_be_drawn_does_not_stop_the_others(with_val, caplog):
    first, second, third = with_val[:3]
    text = (first.directory / "predictions.csv").read_text()
    (first.directory / "predictions.csv").write_text(text.replace("0.", "nan", 1))
    second_file = second.directory / "predictions.csv"
    second_file.write_text("image,split,true,a\nx,val,b,1\n")
    draw_figures([first, second, third])
    assert figures_of(third) and not figures_of(second)
