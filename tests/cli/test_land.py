"""`land`: what would teach no run is refused before anything is uploaded, and nothing is overwritten silently."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from statemachine.contracts.object_kind import ObjectKind
from training.scorelog import landing
from training.scorelog.landing import LandedDay

BUCKET = "fraudloop-data"


def keys(system) -> list[str]:
    return sorted(one.key for prefix in ("data/", "labels/") for one in system.files.list(BUCKET, prefix))


def test_labels_go_under_their_own_prefix(system, fraudloop, tmp_path):
    """And join the window as what they are."""
    (tmp_path / "chargebacks.csv").write_bytes(b"x")
    result = fraudloop("land", str(tmp_path / "chargebacks.csv"), "--labels")
    assert result.exit_code == 0
    assert f"landed s3://{BUCKET}/labels/fraud/chargebacks.csv" in result.stdout
    assert fraudloop("start", "fraud", "--json").exit_code == 0
    assert [one.kind for one in system.intake.objects("fraud")] == [ObjectKind.LABELS]


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("_part.csv", b"x", "would be ignored: '_part.csv' in the key: a side file"),
        (".day.csv", b"x", "would be ignored"),
        ("day.csv.crc", b"x", "would be ignored"),
        ("day.csv", b"", "would be quarantined: the file is empty"),
    ],
)
def test_what_would_teach_nothing_is_refused(system, fraudloop, tmp_path, name, body, said):
    """The reason is the one that intake would give; its good neighbour is not uploaded either."""
    (tmp_path / name).write_bytes(body)
    (tmp_path / "good.csv").write_bytes(b"x")
    result = fraudloop("land", str(tmp_path / "good.csv"), str(tmp_path / name))
    assert result.exit_code == 1
    assert said in " ".join(result.stderr.split())
    assert keys(system) == []


def test_a_marker_may_land(system, fraudloop, tmp_path):
    """An empty `_SUCCESS` is no data, and closes the window."""
    (tmp_path / "_SUCCESS").write_bytes(b"")
    assert fraudloop("land", str(tmp_path / "_SUCCESS")).exit_code == 0


def test_a_name_that_is_taken_is_overwritten_only_if_asked(system, fraudloop, tmp_path):
    """`day.csv` is there; `day.csv.gz`, which begins alike, is another name."""
    for name in ("day.csv.gz", "day.csv"):
        (tmp_path / name).write_bytes(b"x")
        assert fraudloop("land", str(tmp_path / name)).exit_code == 0
    again = fraudloop("land", str(tmp_path / "day.csv"))
    assert again.exit_code == 1
    assert "s3://fraudloop-data/data/fraud/day.csv is there already" in " ".join(again.stderr.split())
    assert fraudloop("land", str(tmp_path / "day.csv"), "--replace").exit_code == 0
    assert fraudloop("land", str(tmp_path / "day.csv"), "--labels").exit_code == 0, "another prefix, another name"


def test_two_files_of_one_name_are_refused(system, fraudloop, tmp_path):
    """From two folders: the second would overwrite the first."""
    (tmp_path / "a").mkdir()
    for folder in (tmp_path, tmp_path / "a"):
        (folder / "day.csv").write_bytes(b"x")
    result = fraudloop("land", str(tmp_path / "day.csv"), str(tmp_path / "a" / "day.csv"))
    assert result.exit_code == 1
    assert "two files are called day.csv" in " ".join(result.stderr.split())
    assert keys(system) == []


def test_scored_payments_land_by_the_day(system, fraudloop, monkeypatch):
    """The command says of each day what became of it. What goes wrong ends with status 1."""
    now = datetime.now(UTC).date()
    yesterday, before = (now - timedelta(days=1)).isoformat(), (now - timedelta(days=2)).isoformat()
    days = [
        LandedDay("2026-11-24", "s3://b/1", "there"), LandedDay("2026-11-25", "s3://b/2", "landed", 1200, 3, 2),
        LandedDay("2026-11-26", "s3://b/3", "empty", 0, 7), LandedDay(yesterday, "s3://b/4", "open"),
    ]  # fmt: skip
    asked = []

    def land(self, today, count):
        asked.append((self, today, count))
        return days

    monkeypatch.setattr(landing.Landing, "land", land)
    result = fraudloop("land", "--scores", "--days", "4")
    assert result.exit_code == 0
    [(made, today, count)] = asked
    assert (made.files.model, made.bucket, made.prefix, count) == ("fraud", BUCKET, "data/fraud/", 4)
    assert today == now.isoformat()
    assert result.stdout.splitlines() == [
        "s3://b/1 is there already",
        "landed s3://b/2: 1,200 payments",
        "  without 3 payments whose answers were logged with no line of these columns",
        "  2 more lines were logged of payments that are in it (docs/score-log.md)",
        "2026-11-26 is not landed: of its 7 answers none has a line of the declared columns; see `--help`",
        f"{yesterday} is not landed yet: the archiver has not made it one file, as it does after midnight UTC",
    ]
    assert [one["state"] for one in json.loads(fraudloop("land", "--scores", "--json").stdout)] == [
        "there", "landed", "empty", "open",
    ]  # fmt: skip
    for wrong in (LandedDay(before, "s3://b/4", "open"), LandedDay(yesterday, "s3://b/4", "empty", without=3)):
        days[:] = [wrong]
        assert fraudloop("land", "--scores").exit_code == 1
    for state, said in (
        ("refused", "because the file would be quarantined: the reason"),
        ("failed", "the reason, for s"),
    ):
        days[:] = [LandedDay(yesterday, "s3://b/4", state, why="the reason")]
        result = fraudloop("land", "--scores")
        assert result.exit_code == 1
        assert said in result.stdout
    days.clear()
    assert "no payment was scored live in these days" in fraudloop("land", "--scores").stdout


def test_a_label_that_may_not_be_empty_is_refused_first(system, fraudloop):
    """TabFormer's own declaration: its files say of each row what it is."""
    result = fraudloop("land", "--scores")
    assert result.exit_code == 1
    assert "the label column 'Is Fraud?' may not be empty" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    "given", ["", "--scores README.md", "--scores --labels", "--scores --replace", "README.md --days 3"]
)
def test_files_or_scores(system, fraudloop, given):
    result = fraudloop("land", *given.split())
    assert result.exit_code == 1
    assert "name files to land, or --scores alone" in " ".join(result.stderr.split())
