"""An object that kills, hangs or floods the process that converts it is bad; its neighbours are converted."""

import json
import os
import subprocess
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path

import pytest

from training.data import conversion
from training.data.bounds import Bounds
from training.data.checks import Limits
from training.data.conversion import Converter
from training.data.preprocess import PreprocessConfig, prepare
from training.outcome import Permanent, Transient
from training.synthetic import generate

CSV = generate(300, 0).write_csv().encode()
BOUNDS = Bounds(conversion_seconds=60)
ROOM = 1 << 30
FILES = Path(__file__).parents[1] / "cases/files"


@pytest.fixture
def deadly(monkeypatch):
    """The worker that obeys its objects."""
    monkeypatch.setattr(conversion, "WORKER", "tests.training.deadly_worker")


def raw(folder: Path, name: str, word: str = "") -> Path:
    path = folder / name
    path.write_bytes(f"{word}\n".encode() * bool(word) + CSV)
    return path


def converted(converter: Converter, path: Path) -> str:
    """What the verdict says; "" if the object is good."""
    verdict = converter.convert(path, path.with_suffix(".parquet"), Limits(), ROOM)
    return verdict.problems[0].found if verdict.problems else ""


def process_of(converter: Converter) -> subprocess.Popen[bytes]:
    assert converter._process is not None
    return converter._process


DEATHS = [
    ("KILL", "its conversion was killed by signal 9 SIGKILL (out of memory?)"),
    ("ABORT", "its conversion was killed by signal 6 SIGABRT (out of memory?)"),
    ("EXIT", "its conversion ended with status 3"),
    ("ALLOCATE", "its conversion needs more memory than conversion_memory_bytes allows"),
]


@pytest.mark.parametrize(("word", "reason"), DEATHS)
def test_an_object_that_kills_the_process_is_bad_alone(deadly, tmp_path, word, reason):
    """The reason says how the process died; a fresh one converts the next object."""
    with Converter(BOUNDS, tmp_path) as converter:
        assert converted(converter, raw(tmp_path, "before")) == ""
        assert converted(converter, raw(tmp_path, "bad", word)) == reason
        assert converted(converter, raw(tmp_path, "after")) == ""


@pytest.mark.parametrize("number", [1, 2])
def test_bytes_that_make_polars_panic_are_bad_alone(tmp_path, number):
    """Two Parquet files with flipped bytes; PanicException is no Exception, and its process is not used again."""
    flipped = FILES / f"parquet_flipped_panics_{number}.parquet"
    with Converter(BOUNDS, tmp_path) as converter:
        verdict = converter.convert(flipped, tmp_path / "clean", Limits(), ROOM)
        assert [problem.found.partition(":")[0] for problem in verdict.problems] == ["its conversion panicked"]
        assert converter._process is None
        assert converted(converter, raw(tmp_path, "after")) == ""


def test_a_death_that_does_not_come_again_costs_nothing(deadly, tmp_path):
    """The process may have been killed for another's sake: the object is tried once more."""
    with Converter(BOUNDS, tmp_path) as converter:
        assert converted(converter, raw(tmp_path, "unlucky", "KILL ONCE")) == ""
        assert (tmp_path / "killed.once").exists()


def test_a_process_that_died_while_it_was_idle_costs_nothing(tmp_path):
    """The next object gets a fresh one."""
    with Converter(BOUNDS, tmp_path) as converter:
        assert converted(converter, raw(tmp_path, "one")) == ""
        os.kill(process_of(converter).pid, 9)
        assert converted(converter, raw(tmp_path, "two")) == ""


def test_an_object_that_takes_too_long_is_bad_alone(deadly, tmp_path):
    """It is not tried again: that would take as long again."""
    with Converter(Bounds(conversion_seconds=3), tmp_path) as converter:
        assert converted(converter, raw(tmp_path, "before")) == ""
        began = time.monotonic()
        assert converted(converter, raw(tmp_path, "slow", "SLEEP")) == "its conversion took longer than 3 s"
        assert time.monotonic() - began < 6
        assert converted(converter, raw(tmp_path, "after")) == ""


def test_what_a_library_prints_is_no_answer(deadly, tmp_path):
    """Neither Python's nor native code's lines on standard output."""
    with Converter(BOUNDS, tmp_path) as converter:
        assert "columns PRINT" in converted(converter, raw(tmp_path, "loud", "PRINT"))


def test_one_process_converts_many_objects(tmp_path):
    """A process is started once, not once an object; it is gone when the context is left."""
    with Converter(BOUNDS, tmp_path) as converter:
        pids = set()
        for number in range(5):
            assert converted(converter, raw(tmp_path, str(number))) == ""
            pids.add(process_of(converter).pid)
    assert len(pids) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(pids.pop(), 0)


def test_a_process_that_does_not_start_is_not_the_objects_trouble(tmp_path, monkeypatch):
    """Broken image, or less memory than polars itself needs: the attempt fails, and nothing is quarantined."""
    monkeypatch.setattr(conversion, "WORKER", "training.data.no_such_module")
    with Converter(BOUNDS, tmp_path) as converter, pytest.raises(Transient, match="does not start: it ended with"):
        converted(converter, raw(tmp_path, "good"))


def test_a_parent_that_dies_leaves_no_process(deadly, tmp_path):
    """The end of its input ends the process, even amid a conversion."""
    with Converter(BOUNDS, tmp_path) as converter:
        assert converted(converter, raw(tmp_path, "one")) == ""
        process, bounds = process_of(converter), asdict(BOUNDS)
        assert process.stdin is not None
        job = {"raw": str(raw(tmp_path, "slow", "SLEEP")), "clean": str(tmp_path / "c"), "scratch": str(tmp_path)}
        limits = asdict(Limits()) | {"latest": "2100-12-31"}
        process.stdin.write(json.dumps(job | {"bounds": bounds, "limits": limits}).encode() + b"\n")
        process.stdin.flush()
        time.sleep(1)
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(timeout=10) == 0


def test_another_folder_of_the_packages_name_is_not_taken_for_it(tmp_path, monkeypatch):
    """A person's own project may have a folder `training`, in which they type `fraudloop train`."""
    (tmp_path / "training").mkdir()
    (tmp_path / "training/__init__.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    with Converter(BOUNDS, tmp_path) as converter:
        assert converted(converter, raw(tmp_path, "good")) == ""


def test_a_full_disk_is_not_the_objects_trouble(deadly, tmp_path):
    """Neither ENOSPC nor the end of the run's scratch space condemns an object."""
    with Converter(BOUNDS, tmp_path) as converter:
        with pytest.raises(Transient, match="scratch disk is full"):
            converter._verdict({"full": "No space left on device"})
        with pytest.raises(Permanent, match="max_scratch_bytes"):
            converter._verdict({"narrow": "9 bytes"})


def test_a_stage_survives_its_worst_object(deadly, tmp_path):
    """Of three files the one that kills the process is quarantined."""
    rows = generate(6000, 3, fraud_rate=0.05)
    paths = [tmp_path / name for name in ("a.csv", "b.csv", "c.csv")]
    rows.head(3000).write_csv(paths[0])
    raw(tmp_path, "b.csv", "KILL")
    rows.tail(3000).write_csv(paths[2])
    made = prepare(paths, tmp_path / "d", PreprocessConfig(min_frauds=0), today=date(2026, 1, 1))
    assert [verdict.accepted for verdict in made.verdicts.values()] == [True, False, True]
    assert made.dataset["rows"] == 6000
