"""The report of a search: one HTML file that opens offline and says what was chosen, how good it is, and why.

    from sartor.report import write_report

    path = write_report(Record("sartor-out"), "images-1")

The page asks nothing of the network: style, script, data and images are inside it, and its content security policy
forbids everything else. All text from outside (class names, paths, choices) is escaped. Charts are SVG drawn by the
page's own small script, so that a page is a third of a megabyte and follows the reader's dark mode, width and printer;
rejected: Bokeh, whose inlined library alone is 1.5 MB and whose canvas follows none of these.
"""

from __future__ import annotations

from sartor.report._write import write_report

__all__ = ["write_report"]
