"""Writes the page: a template filled with the content of a run."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.errors import MissingExtraError, RecordError

if TYPE_CHECKING:
    from sartor.runs import Record


def write_report(record: Record, run_id: str, path: Path | None = None) -> Path:
    """Writes the report of a search or a compression and returns where it is.

    The file is written beside its place and then renamed, so that a reader never sees half of it.

    Args:
        record: Where the run is recorded.
        run_id: The search; it may be running, interrupted, failed or without finalists.
        path: Where to write; by default ``report.html`` in the folder of the run.

    Raises:
        MissingExtraError: an optional package of the report is not installed.
        RecordError: no such run, or the file cannot be written.
    """
    try:
        html = render(record, run_id)
    except ModuleNotFoundError as error:
        if error.name in ("jinja2", "markupsafe", "scipy", "PIL"):
            raise MissingExtraError("the report", error.name, "report") from error
        raise
    if path is None:
        path = record.path(run_id) / "report.html"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(html, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        if temporary.is_file():
            temporary.unlink()
        raise RecordError(f"cannot write the report to {path}: {error.strerror or error}; give another path") from error
    return path


def render(record: Record, run_id: str) -> str:
    """Returns the page of a search, or of a compression, as HTML text."""
    import jinja2
    from markupsafe import Markup

    from sartor.report._content import collect

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sartor.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    if record.run(run_id).kind == "compress":
        from sartor.report._compression import compression_page

        steps = environment.get_template("compression.html.jinja")
        return steps.render(page=compression_page(record, run_id), style=Markup(_asset("page.css")))
    content = collect(record, run_id)
    script, style = _asset("page.js"), _asset("page.css")
    return environment.get_template("page.html.jinja").render(
        page=content,
        data=Markup(_script_safe(content.data)),
        script=Markup(script),
        style=Markup(style),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _asset(name: str) -> str:
    return resources.files("sartor.report").joinpath("templates", name).read_text(encoding="utf-8")


def _script_safe(value: Any) -> str:
    """Returns JSON that cannot end the script element it is put into."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
