"""Writes report pages and reads them back."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pytest

from visionsweep.report.evidence import Evidence, Row
from visionsweep.report.page import write_page
from visionsweep.runs.discovery import Run

VOID = {"meta", "link", "img", "br", "input"}


@dataclass
class Element:
    """An element of a page, with what is in it."""

    tag: str
    attributes: dict[str, str]
    parts: list["Element | str"] = field(default_factory=list)

    @property
    def text(self) -> str:
        inner = (part if isinstance(part, str) else part.text for part in self.parts)
        return re.sub(r"\s+", " ", "".join(inner)).strip()

    @property
    def lines(self) -> list["Element"]:
        """The lines of the first leaderboard."""
        table = self.every("table", **{"class": "leaderboard sortable"})[0]
        return table.every("tbody")[0].every("tr")

    def every(self, *tags: str, **attributes: str) -> list["Element"]:
        return [
            each
            for each in self._walk()
            if each.tag in tags and attributes.items() <= each.attributes.items()
        ]

    def _walk(self) -> Iterator["Element"]:
        for part in self.parts:
            if isinstance(part, Element):
                yield part
                yield from part._walk()


class Reader(HTMLParser):
    """Builds the tree of a page, and refuses one whose tags do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].parts.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].parts.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag

    def handle_data(self, data):
        self.open[-1].parts.append(data)


@pytest.fixture
def written(tmp_path) -> Callable[..., Element]:
    """Write a page and read it back."""

    def write(*groups: Evidence, failed=(), command=None) -> Element:
        file = write_page(groups, failed, tmp_path / "pages" / "report.html", command=command)
        reader = Reader()
        reader.feed(file.read_text(encoding="utf-8"))
        assert len(reader.open) == 1
        return reader.open[0]

    return write


@pytest.fixture
def by_hand(tmp_path, make_record) -> Callable[..., Evidence]:
    """Evidence of runs whose predictions were not kept, from their final validation losses."""

    def make(*losses: float, **facts) -> Evidence:
        rows = [
            Row(
                Run(tmp_path / f"outputs/run-{n}", make_record(f"run-{n}", 1.0, loss, **facts)),
                "unknown",
                None,
            )
            for n, loss in enumerate(losses)
        ]
        return Evidence(rows)

    return make
