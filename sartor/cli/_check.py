"""``sartor check ane``: whether a network is eligible for the Apple Neural Engine."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from sartor.cli import DEFAULT_OUT
from sartor.cli._runs import Out, _search_run
from sartor.runs import Record

if TYPE_CHECKING:
    from sartor.export.ane import Verdict

app = App(name="check", help="Check a network against what a target allows.")


@app.command
def ane(
    what: str = "latest",
    architecture: str = "chosen",
    /,
    *,
    chips: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
    out: Out = DEFAULT_OUT,
) -> None:
    """Say what keeps a network from the Apple Neural Engine, and what to change.

    It says "eligible", never "runs on": that is for Core ML to choose on the device.

    Parameters
    ----------
    what
        A .mlpackage or .mlmodel, or a run, whose network is converted with precision fp16.
    architecture
        Of a run: "chosen", the number of a retrained trial, or an architecture as JSON.
    chips
        List the chips with their stated peaks and where these are from.
    json
        Print JSON instead of a table.
    out
        Folder of results that holds the record.
    """
    if chips:
        _print_chips(json)
        return
    verdict = _verdict(what, architecture, out)
    if json:
        print(dumps(verdict.to_json(), indent=2))
        return
    console = Console()
    if verdict.findings:
        table = Table("operation", "rule", "found", "change", "source", box=None, header_style="bold", pad_edge=False)
        for finding in verdict.findings:
            rule = finding.rule if finding.severity == "forbids" else f"{finding.rule} (slows)"
            table.add_row(finding.operation, rule, finding.found, finding.change, finding.source)
        console.print(table)
    console.print(str(verdict), highlight=False, markup=False, soft_wrap=True)


def _verdict(what: str, architecture: str, out: Path) -> Verdict:
    from sartor.export.ane import check

    if what.endswith((".mlpackage", ".mlmodel")) or Path(what).exists():
        return check(what)
    from sartor._export import export_trial

    record = Record(out, read_only=True)
    with TemporaryDirectory(prefix="sartor-") as folder:
        path = Path(folder) / "network.mlpackage"
        exported = export_trial(
            record, _search_run(record, what), architecture, path, format_name="coreml", precision="fp16"
        )
        return check(exported.report.path)


def _print_chips(json: bool) -> None:
    from dataclasses import asdict

    from sartor.export.ane import chips as known

    if json:
        print(dumps([asdict(chip) for chip in known()], indent=2))
        return
    table = Table(
        "chip", "year", "TOPS", "W8A8 faster", "source of the peak", box=None, header_style="bold", pad_edge=False
    )
    for chip in known():
        text = f"{chip.source}; {chip.notes}" if chip.notes else chip.source
        table.add_row(
            chip.name, str(chip.year), "" if chip.tops is None else f"{chip.tops:g}", "yes" if chip.w8a8 else "", text
        )
    Console().print(table)
