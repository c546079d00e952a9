"""Reports survive the disk, are merged, compared and drawn."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from ropescale_kernels import RopeScaleValueError
from ropescale_kernels.bench import compare, plots, report

ROW = report.Row(
    case="llama-3.1-8b",
    model="llama-3.1-8b",
    dtype="bfloat16",
    layout="contiguous",
    tokens=4096,
    context=32768,
    cache="hot",
    device="a processor",
    malloc="default",
    entry="ours",
    bytes=100,
    p50=10.0,
    p20=9.0,
    p80=11.0,
    samples=5,
    host_bound=False,
    gb_per_s=1.0,
    floor="clone",
    x_copy=1.0,
    x_copy_p20=0.9,
    x_copy_p80=1.1,
    speedup_eager=10.0,
    speedup_compile=None,
    speedup_best=10.0,
    best="Transformers eager",
    error=1e-3,
)
FACT = report.CallCost(
    "ours", "bfloat16", 5.0, {32768: 776, 131072: 776}, {1000: 1e-7, 32767: 1e-7}
)
MACHINE = {"device": "cpu", "cpu": "a processor", "threads": 2, "torch": "2"}


def make(*rows: report.Row) -> report.Report:
    return report.Report(MACHINE.copy(), {"ours": None}, {"x: reason": ["a"]}, list(rows), [FACT])


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    report.write_json(path, make(ROW))
    assert report.read_json(path) == make(ROW)
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
    report.write_json(path, make())
    assert report.read_json(path) == make()


def test_a_row_is_a_line_of_six_digits(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    report.write_json(path, make(replace(ROW, p50=1234.56789), ROW))
    lines = [line for line in path.read_text().splitlines() if '"entry": "ours"' in line]
    assert len(lines) == 3  # two rows and the fact
    assert '"p50": 1234.57,' in lines[1]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 1}', '{"schema": 2, "machine": {}}', "null"]
)
def test_another_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(RopeScaleValueError, match=r"report: expected .*other\.json"):
        report.read_json(path)
    with pytest.raises(RopeScaleValueError, match="missing"):
        report.read_json(tmp_path / "missing.json")


def test_a_key_that_a_report_lacks_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(RopeScaleValueError, match=r"other\.json: no key 'schema'"):
        report.read_json(path)


def test_a_row_with_a_field_too_many_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    report.write_json(path, make(ROW))
    found = json.loads(path.read_text())
    found["rows"][0]["colour"] = "red"
    path.write_text(json.dumps(found))
    with pytest.raises(RopeScaleValueError, match="unexpected"):
        report.read_json(path)


def test_runs_are_merged() -> None:
    retained = replace(ROW, malloc="retain")
    late = make(retained)
    late.left_out = {"x: reason": ["a", "b"], "y: another": []}
    whole = report.merged([make(ROW), late])
    assert whole.rows == [ROW, retained]
    assert whole.left_out == {"x: reason": ["a", "b"], "y: another": []}


@pytest.mark.parametrize(
    ("x_copy", "p20", "p80", "verdict"),
    [
        (1.0, 0.9, 1.1, "same"),
        (1.3, 1.2, 1.4, "slower"),
        (0.7, 0.6, 0.8, "faster"),
        # Apart by the medians, but the spreads meet.
        (1.2, 1.05, 1.3, "same"),
    ],
)
def test_a_change_is_called_one_where_spreads_are_apart(
    x_copy: float, p20: float, p80: float, verdict: str
) -> None:
    now = replace(ROW, x_copy=x_copy, x_copy_p20=p20, x_copy_p80=p80)
    (change,) = compare.changes(make(ROW), make(now))
    assert (change.ratio, change.verdict) == (x_copy, verdict)
    assert change.low <= change.ratio <= change.high


def test_only_the_same_measurement_is_compared() -> None:
    others = [
        replace(ROW, cache="flushed"),
        replace(ROW, malloc="retain"),
        replace(ROW, tokens=1),
        replace(ROW, entry="copy"),
    ]
    assert list(compare.changes(make(ROW), make(*others))) == []
    then, now = make(ROW), make(ROW)
    now.machine["threads"] = 4
    assert compare.differences(then, now) == ["threads was 2, is 4"]
    assert compare.differences(then, then) == []


@pytest.mark.parametrize(
    ("count", "text"),
    [(1, "1"), (776, "776"), (1000, "1000"), (32767, "32k"), (32768, "32k"), (9999991, "10M")],
)
def test_counts_are_written_short(count: int, text: str) -> None:
    assert report.short(count) == text


def drawable() -> report.Report:
    rows = [
        replace(ROW, entry=entry, tokens=tokens, cache=cache, x_copy=x_copy)
        for tokens in (1, 16, 4096)
        for cache in ("hot", "flushed")
        for entry, x_copy in (("copy", 1.0), ("ours", 1.1), ("Transformers eager", 12.0))
    ]
    rows += [
        replace(ROW, case=f"llama-3.1-8b decode of 64 context {c}", context=c, cache="flushed")
        for c in (4096, 32768, 131072)
    ]
    whole = make(*rows)
    whole.facts.append(
        replace(FACT, entry="FlashInfer", table_bytes={32768: 1 << 24, 131072: 1 << 26})
    )
    return whole


def test_pictures_are_drawn_with_what_they_were_drawn_from(tmp_path: Path) -> None:
    found = plots.write_plots(drawable(), tmp_path / "new", {"Source": "results 123"})
    assert [path.name for path in found] == ["x-copy.png", "error.png", "context.png"]
    for path in found:
        data = path.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", data[16:24])
        assert min(width, height) > 400
        assert b"results 123" in data


def test_curves_that_would_cover_one_another_are_one() -> None:
    twin, other = (
        replace(FACT, entry="ours, in place"),
        replace(FACT, entry="onnxruntime", error={1: 1.0}),
    )
    curves = plots._curves([FACT, twin, other], lambda fact: fact.error)
    assert list(curves) == ["ours\nours, in place", "onnxruntime"]


def test_what_was_not_measured_is_not_drawn(tmp_path: Path) -> None:
    empty = make(ROW)
    empty.facts = []
    assert plots.write_plots(empty, tmp_path) == []
