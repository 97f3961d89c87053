"""A report: the same after it was read back, and readable."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmark.reports import noisy, report, run
from toolkit.benchmark import read_bench_report
from toolkit.errors import InputError


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = report(run({"flow": noisy(0, 10.0)}), run({"flow": noisy(1, 10.0)}, stride=4))
    (tmp_path / "bench.json").write_text(written.model_dump_json(indent=2))
    assert read_bench_report(tmp_path / "bench.json") == written


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read .*Expected a file of `toolkit bench --json`"),
        ("{", "not a report of `toolkit bench --json`"),
        ("{}", "not a report.*created_utc"),
        ('{"schema_version": 2}', "not a report.*schema_version: Input should be 1"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "bench.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=words):
        read_bench_report(path)


def test_markdown_names_trtexec_s_statistics_and_shows_what_became_slower() -> None:
    """10 ms of work at 30 frames per second: 0.3 s a second, 2 cages within 0.8 s; then it slows to 20 ms."""
    temperature = {"temperature cpu, °C": [50.0] * 5 + [70.0] * 5}
    slowing = run({"frame to row": [[10.0] * 30] * 5 + [[20.0] * 30] * 5}, **temperature)
    text = report(run({"frame to row": [[10.0] * 30] * 10}), slowing).markdown()
    assert (
        "| stage, ms | samples | min | max | mean | median | percentile(90%) | percentile(95%) | percentile(99%) |"
        in text
    )
    assert "| frame to row | 300 | 10.0 | 10.0 | 10.0 | 10.0 | 10.0 | 10.0 | 10.0 | 100.0 |" in text
    assert "| 1 | 3.33 | 2 | 0.300 s | 0.000 s | 300 |" in text
    assert "Last window against the first: speed -50 %, temperature cpu, °C +20.0." in text
    assert "host 500 MiB, device 900 MiB (all processes)" in text
