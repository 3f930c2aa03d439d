"""Writes a bundle's report: report.json, report.html, refined/. Blocking."""

from __future__ import annotations

from pathlib import Path

from pumpwatch.report.charts import charts
from pumpwatch.report.document import encode
from pumpwatch.report.material import read_material
from pumpwatch.report.page import page
from pumpwatch.report.refined import FOLDER, files
from pumpwatch.report.study import study

REPORT_JSON, REPORT_HTML = "report.json", "report.html"


def write_report(folder: Path) -> None:
    """Into a bundle that is being made; same rows, same bytes. Raises BundleError, OSError."""
    material = read_material(folder)
    report = study(material)
    inside = material.counted(material.inside)
    (folder / REPORT_JSON).write_bytes(encode(report))
    (folder / REPORT_HTML).write_bytes(page(report, charts(report, inside)))
    (folder / FOLDER).mkdir(exist_ok=True)
    for name, content in files(report, inside).items():
        (folder / FOLDER / name).write_bytes(content)
