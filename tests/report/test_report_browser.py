"""The page in a real browser: it draws, follows the reader, asks nothing of the network, and has no errors."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sartor.report import write_report
from sartor.report._wording import format_cost
from sartor.space import Architecture
from sartor.trials import Fidelity, Figure, Proposal, Trial

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="chromium or chromedriver is not installed")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1400,1000"
)
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Callable[[Any], Any]]:
    """Opens the report of a record; at the end nothing may have been asked of the network or said on the console."""

    def show(made: Any) -> Any:
        path = write_report(made.record, made.run, tmp_path / "page.html")
        browser.get(path.as_uri())
        return browser

    yield show
    asked = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [name for name in asked if not name.startswith("data:")] == []
    assert browser.get_log("browser") == []
    width = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], "the page must not scroll sideways"


def all_of(page: Any, selector: str) -> list[Any]:
    return list(page.find_elements("css selector", selector))


def text(page: Any, selector: str) -> str:
    return str(page.execute_script("return document.querySelector(arguments[0]).textContent", selector))


def choose(page: Any, selector: str, value: str) -> None:
    page.execute_script(
        "const e = document.querySelector(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('change'))",
        selector, value,
    )  # fmt: skip


def drawn_boxes(page: Any) -> list[str]:
    return list(
        page.execute_script(
            "return [...document.querySelectorAll('#network .box title')].filter((t) => t.closest('[data-final]')"
            ".offsetParent).map((t) => t.textContent)"
        )
    )


def test_it_draws_the_front_the_graph_the_mistakes_and_the_curves(make: Make, show: Callable[[Any], Any]) -> None:
    made = make(60, 4)
    page = show(made)
    assert len(all_of(page, "#front .mark.chosen")) == 1 and len(all_of(page, "#front .mark.baseline")) == 1
    assert len(all_of(page, "#front .mark.front")) >= 2 and len(all_of(page, "#front .mark.trial")) > 5
    assert all_of(page, "#front line.limit") and text(page, "#front text.limit") == "limit 0.25 ms"
    assert "Latency" in text(page, "#front svg") and "Validation accuracy" in text(page, "#front svg")
    assert len(drawn_boxes(page)) > 10
    assert len([c for c in all_of(page, "#curves .chart svg") if c.is_displayed()]) == 3
    assert all_of(page, "#agree-search .mark") and all_of(page, "#agree-test .mark") and all_of(page, "#progress .line")
    loaded = page.execute_script("return [...document.images].map((image) => image.complete && image.naturalWidth)")
    assert len(loaded) > 20 and set(loaded) == {28}


def test_choosing_another_network_changes_graph_figures_mistakes_and_table(
    make: Make, show: Callable[[Any], Any]
) -> None:
    made = make(60, 4)
    page = show(made)
    before, figures = drawn_boxes(page), text(page, "#detail")
    other = next(f"F{n}" for n in range(4) if n != made.chosen)
    choose(page, "#pick", other)
    assert drawn_boxes(page) != before and text(page, "#detail") != figures
    shown = [e.get_attribute("data-final") for e in all_of(page, "#output [data-final]") if e.is_displayed()]
    assert shown == [other]
    assert [e.get_attribute("data-select") for e in all_of(page, "tr.on")] == [other]
    # A click on a row of the table does the same.
    page.execute_script("arguments[0].click()", all_of(page, f"[data-select=F{made.chosen}] button")[0])
    assert drawn_boxes(page) == before


def test_pointing_at_a_trial_tells_its_architecture_and_clicking_selects_it(
    make: Make, show: Callable[[Any], Any]
) -> None:
    page = show(make(60, 2))
    mark = all_of(page, "#front .mark.front")[0]
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", mark)
    # Scrolling hides the tip: point only when the browser has told of it.
    page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    webdriver.ActionChains(page).move_to_element(mark).perform()
    key = mark.get_attribute("data-key")
    tip = text(page, "#tip")
    assert tip.startswith(f"Trial {key[1:]}") and "choices differ from the baseline" in tip and "network." in tip
    assert page.execute_script("return document.getElementById('tip').hidden") is False
    webdriver.ActionChains(page).move_to_element(mark).click().perform()
    assert page.execute_script("return document.getElementById('pick').value") == key
    assert text(page, "#detail h3").startswith(f"Trial {key[1:]}") and text(page, "#choices").count("network") >= 1
    assert len(all_of(page, "#front .halo")) == 1


def test_a_trial_that_was_not_retrained_says_that_it_has_no_graph(make: Make, show: Callable[[Any], Any]) -> None:
    made = make(60, 2)
    finals = {t.architecture for t in made.record.trials(made.record.children(made.run)[0].id)}
    other = next(t.number for t in made.record.trials(made.run) if t.architecture not in finals)
    page = show(made)
    choose(page, "#pick", f"T{other}")
    assert drawn_boxes(page) == []
    notes = [e.text for e in all_of(page, "[data-final=none]") if e.is_displayed()]
    assert len(notes) == 2 and "not retrained" in notes[0]


def test_the_axes_can_be_chosen(make: Make, show: Callable[[Any], Any]) -> None:
    page = show(make(60, 3))
    choose(page, "#axis-x", "params")
    assert "Parameters" in text(page, "#front svg") and text(page, "#front text.limit") == "limit 200k"
    choose(page, "#axis-x", "macs")
    assert not all_of(page, "#front text.limit")
    choose(page, "#axis-y", "test.accuracy")
    assert "Test accuracy" in text(page, "#front svg") and not all_of(page, "#front .mark.trial")
    choose(page, "#axis-y", "accuracy")
    few = len(all_of(page, "#front .mark"))
    page.execute_script("document.getElementById('all').click()")
    assert len(all_of(page, "#front .mark")) > few


def test_figures_are_written_as_the_command_line_writes_them(make: Make, show: Callable[[Any], Any]) -> None:
    made = make(0, 0)
    rng = np.random.default_rng(0)
    # Ties between two texts, changes of unit, and the very small and large.
    numbers = [1152.0, 1.125, 0.1125, 999.5, 1000.0, 1023.7, 2**20, 1.5e10, 1e-7, 0.5, 2.5, 12.345, 0.0, 123456.0]
    numbers += [float(v) for v in np.exp(rng.uniform(-12, 24, 40))]
    names = {"params": "", "macs": "", "peak_memory_bytes": "B", "latency_ms": "ms", "area_mm2": "mm²"}
    for number, value in enumerate(numbers):
        costs = {name: Figure(value, unit) for name, unit in names.items()}
        trial = Trial(
            number, Proposal(Architecture({"n": number}), Fidelity(1.0)), 0, "complete", {"accuracy": 0.5}, costs
        )
        made.record.add_trial(made.run, trial)
    page = show(made)
    for trial in made.record.trials(made.run):
        choose(page, "#pick", f"T{trial.number}")
        cells = page.execute_script(
            "return [...document.querySelectorAll('#detail td')].map((cell) => cell.firstChild.textContent)"
        )
        # The page keeps seven digits of a figure.
        order = ["latency_ms", "peak_memory_bytes", "params", "macs", "area_mm2"]
        kept = [Figure(float(f"{trial.costs[name].value:.7g}"), names[name]) for name in order]
        assert cells[1:] == [format_cost(name, figure) for name, figure in zip(order, kept, strict=True)]


@pytest.mark.parametrize("trials", [0, 1])
def test_a_run_with_hardly_anything_draws_without_errors(make: Make, show: Callable[[Any], Any], trials: int) -> None:
    page = show(make(trials, trials))
    assert text(page, "#progress")


def test_names_from_outside_run_nothing(make: Make, show: Callable[[Any], Any]) -> None:
    evil = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'
    made = make(12, 2, classes=tuple(f"{evil}{i}" for i in range(3)), task_name=evil)
    values = Architecture({evil: evil})
    trial = Trial(12, Proposal(values, Fidelity(3.3333)), 1, "failed", failure=evil, costs={"params": Figure(5.0)})
    made.record.add_trial(made.run, trial)
    page = show(made)
    choose(page, "#pick", "T12")
    assert evil in text(page, "#choices") and evil in text(page, "#detail")
    assert page.execute_script("return window.pwned") is None


def test_a_narrow_window_does_not_scroll_sideways(make: Make, show: Callable[[Any], Any]) -> None:
    page = show(make(40, 3))
    size = {"width": 420, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        # Charts are drawn again when the browser has told them of the new width.
        page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
        assert page.execute_script("return document.documentElement.scrollWidth") <= 420
        view = page.execute_script("return document.querySelector('#front svg').getAttribute('viewBox')")
        assert float(view.split()[2]) < 420
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_score_to_minimise_has_its_front_below(make: Make, show: Callable[[Any], Any]) -> None:
    objectives = [["cross_entropy", "min"], ["params", "min"]]
    page = show(make(80, 3, primary="cross_entropy", direction="min", objectives=objectives))
    places = page.execute_script(
        "return [...document.querySelectorAll('#front .mark.front')].map((m) => m.getBBox()).map((b) => [b.x, b.y])"
    )
    assert len(places) > 1 and text(page, "#axis-x option:checked") == "parameters"
    assert [y for _, y in sorted(places)] == sorted(y for _, y in places)
