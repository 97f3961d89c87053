"""The whole loop from the command line: draw, score, compare, and what training makes of the clips."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from typer.testing import CliRunner

from tests.conftest import WriteVideo
from tests.sampling.parts import label_table
from toolkit.annotations import load_dataset
from toolkit.cli import app
from toolkit.cli.agreement import GROUP
from toolkit.errors import InputError
from toolkit.ethogram import MOUSE_HOME_CAGE
from toolkit.frames import read_frames
from toolkit.train.config import train_config
from toolkit.train.dataset import prepare_dataset

NAMES = MOUSE_HOME_CAGE.names


def called(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def truth(write_video: WriteVideo, tmp_path: Path) -> dict[str, np.ndarray]:
    """Write two videos' tables, in which the machine is wrong now and then; return what is true."""
    random = np.random.default_rng(0)
    said = {}
    for cage in ("m1", "m2"):
        true = np.repeat(random.choice([2, 5, 6, 7], 30), 40).astype(np.int16)
        machine = np.where(np.repeat(random.random(30) < 0.3, 40), 7, true).astype(np.int16)
        label_table(write_video(f"{cage}.mp4", len(true)), machine, random.uniform(0.4, 1, len(true)))
        said[cage] = true
    return said


def test_the_loop(truth: dict[str, np.ndarray], tmp_path: Path) -> None:
    tables = [str(tmp_path / f"{cage}.labels.csv") for cage in truth]
    sample, data = tmp_path / "sample", tmp_path / "data"
    said = called("sample", *tables, "--out", str(sample), "--clips", "24", "--seconds", "1", "--counter")
    assert (
        "m1: 40.0 s observed, 0.0 s of it without pictures and skipped, 39.0 s in whole clips; 12 clips drawn" in said
    )
    about = json.loads((sample / "sample.json").read_text())
    assert [one["bundles"] for one in about["sources"]] == [[{"name": "small", "sha256": "b" * 64}]] * 2
    assert (about["seed"], about["clips"]) == (0, 24)
    assert len(list((sample / "numbered").iterdir())) == 24
    with (sample / "scoring.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        # The frames are those that the table names: their grey tells their numbers.
        start, stop = int(row["source_start_frame"]), int(row["source_stop_frame"])
        greys = [float(frame.image.mean()) for frame in read_frames(sample / "clips" / row["clip"])]
        assert [round((grey - 10) / 3) for grey in greys] == [number % 80 for number in range(start, stop)]
        row["behaviour"] = NAMES[truth[row["cage"]][start + int(row["centre_frame"])]]
    # One clip is scored from end to end.
    first = rows[0]
    start = int(first["source_start_frame"])
    labels = truth[first["cage"]][start : start + 30]
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), 30]
    more = [
        {
            **dict.fromkeys(first, ""),
            "clip": first["clip"],
            "behaviour": NAMES[labels[a]],
            "start_frame": a,
            "stop_frame": b,
        }
        for a, b in pairwise(edges)
    ]
    with (sample / "scoring.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(first))
        writer.writeheader()
        writer.writerows([*rows, *more])
    said = called(
        "agreement", str(sample), "--out", str(tmp_path / "out"), "--write-dataset", str(data), "--per", "day"
    )
    with (sample / "key.csv").open() as file:
        key = {row["clip"]: row for row in csv.DictReader(file)}
    kappa = cohen_kappa_score(
        [row["behaviour"] for row in rows],
        [key[row["clip"]]["machine"] for row in rows],
        sample_weight=[float(key[row["clip"]]["stands_for_s"]) for row in rows],
    )
    assert f"Cohen's kappa {kappa:.3f} (95 %: " in said
    with (tmp_path / "out" / "kappa.csv").open() as file:
        parts = {(row["cage"], row["period"]): row for row in csv.DictReader(file)}
    assert set(parts) == {("all", "all"), *((c, p) for c in truth for p in ("all", "2026-11-26"))}
    assert float(parts["all", "all"]["kappa"]) == pytest.approx(kappa, abs=1e-6)

    dataset = load_dataset(data, group_pattern=GROUP)
    assert dataset.groups == ("m1", "m2")
    assert len(dataset.videos) == 24
    config = train_config(
        {"geometry": {"width": 64, "height": 48, "fps": 30}, "flow": "fast", "resize": 20, "crop": 16, "device": "cpu"}
    )
    prepared = prepare_dataset(dataset, config, workers=0)
    for video in prepared.videos:
        row = next(row for row in rows if row["clip"] == Path(video.name).name)
        start, centre = int(row["source_start_frame"]), int(row["centre_frame"])
        labelled = np.flatnonzero(video.labels >= 0).tolist()
        assert video.frames == 30
        assert labelled == (list(range(30)) if row is first else [centre])
        expected = truth[row["cage"]][start : start + 30]
        assert [prepared.ethogram.names[video.labels[t]] for t in labelled] == [NAMES[expected[t]] for t in labelled]


def test_a_folder_is_not_replaced_by_accident(truth: dict[str, np.ndarray], tmp_path: Path) -> None:
    table = str(tmp_path / "m1.labels.csv")
    keep = tmp_path / "keep"
    keep.mkdir()
    for more in ([], ["--overwrite"]):
        with pytest.raises(InputError):
            called("sample", table, "--out", str(keep), *more)
    assert keep.is_dir()
    out = str(tmp_path / "sample")
    called("sample", table, "--out", out, "--clips", "5", "--seconds", "0.5")
    with pytest.raises(InputError, match="already exists"):
        called("sample", table, "--out", out)
    called("sample", table, "--out", out, "--clips", "6", "--seconds", "0.5", "--overwrite")
    assert len(list((tmp_path / "sample" / "clips").iterdir())) == 6


def test_mistakes_are_said(truth: dict[str, np.ndarray], tmp_path: Path, write_video: WriteVideo) -> None:
    table = tmp_path / "m1.labels.csv"
    out = ["--out", str(tmp_path / "sample")]
    with pytest.raises(InputError, match="expected a time such as"):
        called("sample", str(table), *out, "--since", "yesterday")
    with pytest.raises(InputError, match=r"expected behaviour, time; found 'day'"):
        called("sample", str(table), *out, "--by", "day")
    with pytest.raises(InputError, match="not a folder of `toolkit sample`"):
        called("agreement", str(table))
    with pytest.raises(InputError, match="--write-dataset: expected with a scored sample alone"):
        called("agreement", str(table), str(table), "--write-dataset", str(tmp_path / "data"))
    called("sample", str(table), "--out", str(tmp_path / "unscored"), "--clips", "4", "--seconds", "0.5")
    written = ["--out", str(tmp_path / "agreed"), "--write-dataset", str(tmp_path / "data")]
    with pytest.raises(InputError, match="nothing was scored"):
        called("agreement", str(tmp_path / "unscored"), *written)
    assert not (tmp_path / "agreed").exists()
    assert not (tmp_path / "data").exists()
    with pytest.raises(InputError, match="no such file"):
        called("sample", str(tmp_path / "absent"), *out)
    with pytest.raises(InputError, match="is not the video that was labelled"):
        called("sample", str(table), *out, "--footage", str(write_video("other.mp4", 50)))
    (tmp_path / "m1.labels.json").unlink()
    with pytest.raises(InputError, match=r"m1.labels.json, which says what it is, is not beside it"):
        called("sample", str(table), *out)
    assert not (tmp_path / "sample").exists()
