"""The report page: whole in one file, safe whatever users write, readable for everybody."""

import base64
import hashlib
import itertools
import json
import math
import os
import re
from pathlib import Path

import msgspec
import pytest

from visionsweep.analysis.comparison import Comparison
from visionsweep.analysis.intervals import Estimate
from visionsweep.report.evidence import Evidence, Row
from visionsweep.report.page import write_page
from visionsweep.runs.discovery import Run
from visionsweep.runs.record import Failure
from visionsweep.runs.scores import Measure

NASTY = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'


@pytest.fixture
def failed(tmp_path, make_record) -> Run:
    failure = Failure("UserError", f"no such folder {NASTY}\nsecond line")
    return Run(tmp_path / "outputs/bad", make_record("a-bad-run", failure=failure))


def test_page_loads_nothing_from_elsewhere(written, simulated_sweep, failed):
    page = written(simulated_sweep(), failed=[failed])
    for element in page.every("link", "img", "script", "iframe", "a", "source", "object"):
        for name in ("src", "href", "srcset", "data"):
            assert re.match(r"data:image/|#|$", element.attributes.get(name, ""))
    style = page.every("style")[0].text
    assert "url(" not in style and "@import" not in style


def test_content_security_policy_allows_only_the_scripts_of_the_page(written, simulated_sweep):
    page = written(simulated_sweep())
    meta = page.every("meta", **{"http-equiv": "Content-Security-Policy"})[0]
    policy = dict(rule.strip().split(" ", 1) for rule in meta.attributes["content"].split(";"))
    assert policy["default-src"] == "'none'" and policy["img-src"] == "data:"
    run = [each for each in page.every("script") if "type" not in each.attributes]
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"
        for each in run
        for part in each.parts
        if isinstance(part, str)
    }
    assert len(run) == 4 and set(policy["script-src"].split()) == hashes


def test_images_that_are_gone_or_broken_leave_a_place_with_their_name(
    written, simulated_sweep, tmp_path
):
    evidence = simulated_sweep()
    (tmp_path / "images/0.png").unlink()
    (tmp_path / "images/1.png").write_bytes(b"no image")
    page = written(evidence)
    places = page.every("div", **{"class": "missing"})
    assert places and not page.every("img")
    names = {each.every("span")[0].text for each in page.every("figure")}
    assert names == {"images/0.png", "images/1.png"}


@pytest.mark.parametrize(
    "content",
    [None, b"", b"image,split,true,a\nx,test,b,1\n", b"\xff\xfe", b"image,split,true,a\n"],
)
def test_damaged_predictions_do_not_stop_the_page(written, simulated_sweep, content):
    evidence = simulated_sweep()
    file = evidence.chosen.directory / "predictions.csv"
    file.unlink() if content is None else file.write_bytes(content)
    page = written(evidence)
    assert "missing or cannot be read" in page.text and len(page.lines) == 8


def test_names_from_users_are_escaped_in_the_page(written, simulated_sweep, failed, tmp_path):
    evidence = simulated_sweep(
        models=(f"net{NASTY}".replace("/", "∕"),), data=("10pct",), classes=[NASTY, "b", "c"],
        dataset=NASTY,
    )  # fmt: skip
    page = written(evidence, failed=[failed], command=NASTY)
    assert len(page.every("script")) == 4 + 2  # those of the page, and its data
    assert not [e for e in page.every("img", "svg") if "onerror" in e.attributes]
    assert page.every("h2")[0].text == NASTY
    assert page.every("table", **{"class": "confusion"})[0].every("th")[2].text == NASTY
    assert NASTY in page.every("dl", **{"class": "failed"})[0].text
    names = [run["name"] for run in json.loads(page.every("script", id="g1-curves-data")[0].text)]
    assert names[0].startswith("net<∕script><script>alert(1)")


def test_runs_that_did_not_complete_are_listed_with_their_reason(written, failed):
    page = written(failed=[failed, Run(failed.directory / "too", failed.record)])
    assert "No run completed" in page.text
    listed = page.every("section", id="failed")[0]
    assert listed.every("dt")[0].text == f"a-bad-run failed {failed.directory}"
    assert "UserError: no such folder" in listed.text
    assert len(listed.every("dt")) == 2 and len(listed.every("dd")) == 1  # for the same reason
    assert len(page.every("script")) == 3  # without charts, no plotly


def test_diverged_runs_are_shown_as_such(written, by_hand):
    page = written(by_hand(0.5, math.nan))
    assert "diverged" in page.lines[1].text and "diverged" not in page.lines[0].text
    curves = page.every("script", id="g1-curves-data")[0].text
    assert "NaN" not in curves and json.loads(curves)[1]["series"]["val.loss"][0] == [1.0, None]
    assert "Training diverged" in written(by_hand(math.nan, math.nan)).text


def test_records_of_an_earlier_version_are_shown_without_intervals(written, by_hand):
    page = written(by_hand(0.25, 0.5))
    assert "0.250" in page.lines[0].text and "[" not in page.lines[0].text
    assert "not compared" in page.lines[1].text
    assert "cannot be compared" in page.every("p", **{"class": "lead"})[0].text


def test_commands_can_be_pasted_into_a_shell(written, by_hand, tmp_path):
    evidence = by_hand(0.5, 0.6)
    for row in evidence.rows:
        row.run.record.command = ["src/train.py", "-m", "data.root=my photos"]
    moved = [msgspec.structs.replace(row.run.record) for row in evidence.rows]
    rows = [
        Row(Run(Path("out puts") / record.name, record), row.mark, None)
        for row, record in zip(evidence.rows, moved, strict=True)
    ]
    page = written(Evidence(rows))
    listed = page.every("dl", **{"class": "commands"})[0]
    assert [each.text for each in listed.every("dd")] == [
        "python src/predict.py PHOTO.jpg --run 'out puts/run-0'Copy",
        "python src/view.py 'out puts' --allCopy",
        "python src/train.py -m 'data.root=my photos'Copy",
    ]


def test_headings_stand_in_order_and_tables_say_what_they_are(written, simulated_sweep, failed):
    page = written(simulated_sweep(), failed=[failed])
    levels = [int(each.tag[1]) for each in page.every("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    for table in page.every("table"):
        assert table.every("caption")[0].text
        assert all(each.attributes.get("scope") for each in table.every("th"))
    assert page.every("html")[0].attributes["lang"] == "en"
    assert len(page.every("main")) == len(page.every("header")) == len(page.every("footer")) == 1
    for box in page.every("div", role="region"):
        assert box.attributes["tabindex"] == "0"
        assert "aria-label" in box.attributes or "aria-labelledby" in box.attributes
    assert all(image.attributes.get("alt") for image in page.every("img"))


def test_a_thousand_runs_make_a_page_below_ten_megabytes(written, tmp_path, make_record):
    measure = Measure(0.3, 0.25, 0.35, [0.3])
    rows = []
    for n in range(1000):
        record = make_record(
            f"run-{n:04}", 1.0, 0.3 + n / 1000, model=f"net{n % 7}", lr=1e-5 * (n + 1)
        )
        record.evaluation = {s: {"loss": measure, "accuracy": measure} for s in ("val", "test")}
        difference = Estimate(n / 1000, n / 1000 - 0.1, n / 1000 + 0.1)
        comparison = Comparison(difference, 0.1, 0.5, distinguishable=n > 99, could_be_best=n < 100)
        mark = "recommended" if n == 0 else "possible" if n < 100 else "worse"
        rows.append(Row(Run(tmp_path / f"runs/{n}", record), mark, comparison if n else None))
    page = written(Evidence(rows, rows[0].run, ""))
    assert len(page.lines) == 1000
    assert len(json.loads(page.every("script", id="g1-curves-data")[0].text)) == 50
    assert "The first 50 runs of 1,000." in page.text
    assert (tmp_path / "pages/report.html").stat().st_size < 10_000_000


def test_the_same_runs_make_the_same_page(tmp_path, simulated_sweep):
    evidence = simulated_sweep()
    files = [write_page([evidence], [], tmp_path / name, command=None) for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_folder_whose_name_is_not_utf8_does_not_stop_the_page(written, by_hand):
    rows = by_hand(0.5).rows
    moved = Run(Path(os.fsdecode(b"outputs/caf\xe9")), rows[0].run.record)
    page = written(Evidence([Row(moved, "unknown", None)]))
    assert r"$'outputs/caf\351'" in page.every("dl", **{"class": "commands"})[0].text
