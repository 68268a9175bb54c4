"""The page of a report: whole, by itself, and safe with any name."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from MedSAMSlicerLib.lab.evaluation.html_report import as_html
from MedSAMSlicerLib.lab.evaluation.plots import plots
from MedSAMSlicerLib.lab.evaluation.report_data import AccuracyReport, CaseSkipped

from .reports import OURS, measurement, report, whole_report

_EMPTY = {"meta", "img", "input", "br"}


class Page(HTMLParser):
    """What a browser would find; fails on a tag that is closed in the wrong place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        self.text.append(data.strip())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture(scope="module")
def whole() -> AccuracyReport:
    return whole_report(cases=4)


def test_a_page_is_well_formed_and_every_name_is_there_once(whole: AccuracyReport) -> None:
    page = Page(as_html(whole, drawn=plots(whole)))
    assert page.open == []
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names))


def test_a_page_asks_the_network_for_nothing(whole: AccuracyReport) -> None:
    page = Page(as_html(whole, drawn=plots(whole), sheet=b"\x89PNG"))
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action"):
            assert str(attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_plots_contact_sheet_and_headline_numbers_are_on_the_page(whole: AccuracyReport) -> None:
    page = Page(as_html(whole, drawn=plots(whole), sheet=b"\x89PNG"))
    assert page.count("svg") == 4
    assert page.count("img") == 1
    assert {"3-D Dice", "Whole mask", "Ahead of baselines", "Dice .85 reached"} <= set(page.text)
    assert "skipped broken: DATA/broken/image.nii.gz cannot be read." in page.text


def test_names_are_text_and_never_markup() -> None:
    name = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
    made = report(
        measurement(name, name, modality=name),
        measurement(name, name, name),
        measurement(name, name, "box", dices=(), error=name),
        skipped=[CaseSkipped(name, name)],
        data=name,
        command=f"medsamslicer --data {name}",
        runners={name: {name: name}},
    )
    page = Page(as_html(made, drawn=plots(made)))
    assert page.count("script") == 1  # the page's own
    assert page.count("img") == 0
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert any("<script>alert('x')</script>" in text for text in page.text)


def test_a_score_has_a_bar_and_an_interval_has_none(whole: AccuracyReport) -> None:
    text = as_html(whole)
    assert re.search(r'<td class="number score" style="--v:0\.\d{3}">\.\d{3}</td>', text)
    assert not re.search(r'score"[^>]*>\.\d{3} to', text)


def test_an_effort_page_begins_with_clicks_and_seconds() -> None:
    made = report(measurement(protocol="10 clicks", dices=(0.5, 0.9)))
    text = as_html(made, "effort")
    assert text.index("How many clicks, how many seconds? ") < text.index("<h2>Summary</h2>")
    assert f"<p>How many clicks, how many seconds? {OURS}, 10 clicks, reaches" in text


def test_the_page_of_a_run_that_measured_nothing_says_why() -> None:
    page = Page(as_html(report(skipped=[CaseSkipped("broken", "It cannot be read.")])))
    assert "skipped broken: It cannot be read." in page.text
    assert page.count("table") == 0
