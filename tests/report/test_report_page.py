"""The page of a run: what it says, what it says when something is missing, and that nothing can break out of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sartor.errors import MissingExtraError, RecordError
from sartor.goals import Goals, Objective
from sartor.report import write_report
from sartor.report._figures import figure_rows
from sartor.report._finalists import Finalist
from sartor.report._wording import certainty, format_metric, label
from sartor.space import Architecture
from sartor.trials import Fidelity, Figure, Proposal, State, Trial

Make = Callable[..., Any]
EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'


class Seen(HTMLParser):
    """What a browser would make of the page: elements, attributes, text and the embedded data."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.data: dict[str, Any] = {}
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = "data" if tag == "script" and dict(attrs).get("id") == "data" else tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "data":
            self.data = json.loads(data)
        elif self._inside not in ("script", "style"):
            self.text += " " + data

    def says(self, text: str) -> bool:
        return " ".join(text.split()) in " ".join(self.text.split())


def seen(made: Any, tmp_path: Path) -> Seen:
    return Seen(write_report(made.record, made.run, tmp_path / "page.html").read_text(encoding="utf-8"))


def test_it_says_what_was_chosen_how_good_it_is_and_why(make: Make, tmp_path: Path) -> None:
    made = make()
    page = seen(made, tmp_path)
    final = made.record.children(made.run)[0]
    chosen = made.record.trials(final.id)[made.chosen]
    assert page.says(f"Chosen: finalist {made.chosen}, found as trial")
    assert page.says(f"Test accuracy {chosen.metrics['test.accuracy']:.4f}".lower().replace("test", "test"))
    assert page.says("Why: highest validation accuracy")
    assert page.says("by 1,000 test examples") and page.says("limit ≤ 0.25 ms") and page.says("measured ±")
    assert page.says("class 'bag' has 12 images, 40 times fewer than 'coat'")
    assert page.says("sartor search images --data garments/ --limit latency=250us --limit params=200k --trials 120")
    assert page.says("c0ffee12ab34cd56") and page.says("Example CPU 3.1 GHz") and page.says("16 GiB")
    assert page.says("worker of trial 3 died by signal 9")


def test_everything_is_inside_the_file_and_its_policy_forbids_the_rest(make: Make, tmp_path: Path) -> None:
    page = seen(make(20, 2), tmp_path)
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            target = attributes.get(name)
            assert target is None or target.startswith(("data:", "#")), (tag, target)
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert tag not in ("iframe", "object", "embed", "base", "form")
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'") and re.search(r"script-src 'sha256-[A-Za-z0-9+/]{43}='$", policy)


def test_the_data_of_the_script_hold_every_trial_in_a_form_that_reads_back(make: Make, tmp_path: Path) -> None:
    made = make(40, 3)
    data = seen(made, tmp_path).data
    trials = made.record.trials(made.run)
    assert [row["n"] for row in data["trials"]] == [t.number for t in trials]
    for row, trial in zip(data["trials"], trials, strict=True):
        values = {data["keys"][k]: data["options"][k][option] for k, option in row["a"]}
        assert values == json.loads(trial.architecture.to_json())
        assert data["states"][row["s"]] == trial.state
        for (name, _, _), value in zip(data["costs"], row["c"], strict=True):
            assert value == pytest.approx(trial.costs[name].value, rel=1e-6)
    assert data["selected"] == f"F{made.chosen}"
    assert set(data["curves"]) == {row["key"] for row in data["finals"]}
    steps, values = data["curves"]["F0"]["loss.network"]
    assert len(steps) == len(values) > 50


def test_names_from_outside_stay_text(make: Make, tmp_path: Path) -> None:
    classes = tuple(f"{EVIL}{i}" for i in range(4))
    page = seen(
        make(
            12,
            2,
            classes=classes,
            task_name=EVIL,
            space_text=EVIL,
            command=EVIL,
            strategy=EVIL,
            describe={EVIL: [EVIL]},
        ),
        tmp_path,
    )
    assert sum(tag == "script" for tag, _ in page.tags) == 2
    assert not any(attributes.get("src") == "x" or "onerror" in attributes for _, attributes in page.tags)
    assert page.says(f"{EVIL} on garments/") and page.says(f"{EVIL}3")


def test_a_key_or_failure_that_would_end_the_script_does_not(make: Make, tmp_path: Path) -> None:
    made = make(3, 0)
    values = Architecture({"</script><script>alert(1)</script>": "</script>", "b": "\u2028<!--"})
    trial = Trial(3, Proposal(values, Fidelity(3.3333)), 1, "failed", failure="</script><script>alert(2)")
    made.record.add_trial(made.run, trial)
    html = write_report(made.record, made.run, tmp_path / "page.html").read_text(encoding="utf-8")
    page = Seen(html)
    assert sum(tag == "script" for tag, _ in page.tags) == 2 and html.count("</script") == 2
    assert page.data["keys"][-2:] == ["</script><script>alert(1)</script>", "b"]
    assert page.data["trials"][3]["x"] == "</script><script>alert(2)"


def test_an_interrupted_search_shows_the_best_so_far_and_says_what_is_missing(make: Make, tmp_path: Path) -> None:
    made = make(30, 0, state="interrupted")
    page = seen(made, tmp_path)
    assert page.says("The search was interrupted. The same command with --resume goes on where it stopped.")
    assert page.says("not retrained and not tested") and page.says("No finalists were retrained")
    assert not page.says("Can the search's scores be trusted?")
    assert page.data["selected"].startswith("T") and page.data["curves"]
    trials = [t for t in made.record.trials(made.run) if t.state == "complete"]
    top = max(t.proposal.fidelity.amount for t in trials)
    inside = [t for t in trials if t.proposal.fidelity.amount == top and t.costs["params"].value <= 200_000]
    assert page.data["selected"] == f"T{max(inside, key=lambda t: t.metrics['accuracy']).number}"


def test_a_run_of_one_trial_and_one_without_any_are_reported(make: Make, tmp_path: Path) -> None:
    one = seen(make(1, 1), tmp_path)
    assert one.says("This is the hand-designed baseline itself") and one.says("there is no order to compare")
    none = seen(make(0, 0, state="failed", out=tmp_path / "empty"), tmp_path)
    assert none.says("No trial was recorded") and none.says("The search failed") and none.data["trials"] == []


def test_failures_are_counted_with_their_message(make: Make, tmp_path: Path) -> None:
    page = seen(make(30, 1, failing=0.5), tmp_path)
    assert re.search(r"\d+ × failed: the loss of 'network' is nan at step 12", " ".join(page.text.split()))


def test_files_that_are_gone_or_broken_are_named_not_fatal(make: Make, tmp_path: Path) -> None:
    made = make(10, 2)
    final = made.record.children(made.run)[0].id
    folder = made.record.path(final)
    (folder / "0.graph.json").write_text("{")
    (folder / "0.pictures.npz").write_bytes(b"no archive")
    (folder / "1.graph.json").unlink()
    page = seen(made, tmp_path)
    assert page.says("Its graph cannot be read from 0.graph.json")
    assert page.says("Its pictures cannot be read from 0.pictures.npz")
    assert page.says("Its graph cannot be read from 1.graph.json")
    untested = seen(make(10, 2, tested=False, files=False, out=tmp_path / "bare"), tmp_path)
    assert untested.says("The finalists were not tested") and untested.says("Its graph was not recorded.")


def test_two_thousand_trials_stay_small(make: Make, tmp_path: Path) -> None:
    made = make(2000, 5)
    path = write_report(made.record, made.run, tmp_path / "page.html")
    assert path.stat().st_size < 2e6


def test_a_search_from_python_gets_the_call_that_repeats_it(make: Make, tmp_path: Path) -> None:
    page = seen(make(3, 0, command=None), tmp_path)
    call = (
        "from sartor.tasks.images.task import Images task = Images('garments/', size=28, seed=0) front = sartor.search("
    )
    assert page.says(call) and page.says("limits=['latency_ms=0.25', 'params=200000']") and page.says("seed=7, slots=4")


def test_it_is_written_beside_the_run_by_default_and_replaces_the_old_whole(make: Make) -> None:
    made = make(3, 0)
    path = made.record.path(made.run) / "report.html"
    path.write_text("old")
    assert write_report(made.record, made.run) == path
    assert path.read_text().endswith("</html>")
    assert [p.name for p in path.parent.glob("*report*")] == ["report.html"]


def test_a_place_that_cannot_be_written_is_an_error_that_leaves_nothing(make: Make, tmp_path: Path) -> None:
    made = make(3, 0)
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(RecordError, match="cannot write the report to .*give another path"):
        write_report(made.record, made.run, blocker / "page.html")
    with pytest.raises(RecordError, match="no run 'images-9'"):
        write_report(made.record, "images-9")


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(3, 0)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r'"sartor\[report\]"'):
        write_report(made.record, made.run)


def test_importing_the_report_loads_neither_torch_nor_its_own_libraries() -> None:
    code = "import sys, sartor.report; print(*({'torch', 'jinja2', 'scipy', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_certainty_and_scores_are_written_as_people_read_them() -> None:
    assert certainty(Figure(3.0)) == "exact"
    assert certainty(Figure(3.0, "ms", 0.041, "measured")) == "measured ±4.1%"
    assert certainty(Figure(3.0, "mJ", None, "estimated")) == "estimated, error unknown"
    assert [format_metric(v) for v in (0.97, 12.5, 123456.0, 0.00012)] == ["0.9700", "12.5000", "123456", "0.00012"]
    assert label("test.accuracy") == "test accuracy" and label("latency_ms") == "latency"


def finalist(key: str, accuracy: float, latency: Figure) -> Finalist:
    trial = Trial(int(key[1:]), Proposal(Architecture({"width": int(key[1:])}), Fidelity(1.0)), 0, "complete")
    trial.metrics, trial.costs = {"accuracy": accuracy}, {"latency_ms": latency}
    return Finalist(key, key, trial, None, "", chosen=False)


def test_a_difference_within_the_error_of_the_measurement_is_not_called_better() -> None:
    goals = Goals((Objective("accuracy"), Objective("latency_ms", "min")))

    def change(value: float, error: float) -> tuple[str, bool | None]:
        mine = finalist("F1", 0.9, Figure(value, "ms", error, "measured"))
        theirs = finalist("F2", 0.9, Figure(1.0, "ms", error, "measured"))
        row = next(
            row for row in figure_rows(mine, theirs, goals, ["latency_ms"], ["accuracy"]) if row.label == "latency"
        )
        return row.change, row.better

    assert change(0.95, 0.05) == ("same within error", None)
    assert change(0.95, 0.01) == ("×0.95", True)
    assert change(2.0, 0.01) == ("×2", False)


def test_finalists_that_failed_or_broke_a_limit_are_counted(make: Make, tmp_path: Path) -> None:
    made = make(10, 2)
    final = made.record.children(made.run)[0].id
    states: list[State] = ["failed", "infeasible", "running"]
    for number, state in enumerate(states, 2):
        proposal = Proposal(Architecture({"n": number}), Fidelity(30.0), replicate=1)
        made.record.add_trial(final, Trial(number, proposal, 1, state, failure=None if state == "running" else "why"))
    page = seen(made, tmp_path)
    assert page.says("1 of 5 finalists failed when retrained.") and page.says("1 of 5 finalists were not finished.")
    assert page.says("1 of 5 finalists broke a limit when measured again.")
    assert [row["key"] for row in page.data["finals"]] == ["F0", "F1"]


def test_trainings_of_unequal_length_are_not_called_better() -> None:
    goals = Goals((Objective("accuracy"),))
    mine, theirs = finalist("F1", 0.9, Figure(1.0)), finalist("F2", 0.8, Figure(1.0))
    theirs.trial.proposal = Proposal(theirs.trial.architecture, Fidelity(0.5))
    row = figure_rows(mine, theirs, goals, [], ["accuracy"])[0]
    assert (row.change, row.better) == ("+0.1000 (trained longer)", None)
