"""The layout of the artifacts bucket is the one that docs/contracts.md shows, and only `paths` spells it."""

import re
from pathlib import Path

import pytest

from statemachine.contracts import paths
from statemachine.contracts.stage import Stage

ROOT = Path(__file__).parents[2]
BUCKET = "s3://artifacts"
LAUNCH = paths.launch_folder(BUCKET, "fraud-7", Stage.TRAIN, 2, "L1")
SPELLED = re.compile(r"""f?["'](?:\{[^}]*\})?/?(?:s3://[^"']*/)?(?:runs|models|cache|datasets|scores)/""")
NOT_OURS = ("help=", "@api.", "#/runs/details/", "/v2/models/", "/apis/v2beta1/runs/", "_url}/runs/")
# the KFP UI, Triton, KFP and the console


@pytest.mark.parametrize(
    ("built", "documented"),
    [
        (paths.manifest_uri(BUCKET, "fraud-7", "0a1b2c3d"), "runs/fraud-7/manifest.0a1b2c3d.json"),
        (paths.manifest_uri(BUCKET, "fraud-7", ""), "runs/fraud-7/manifest.json"),
        (LAUNCH, "runs/fraud-7/train/2/L1"),
        (paths.checkpoints_folder(BUCKET, "fraud-7"), "runs/fraud-7/train/checkpoints"),
        (paths.cache_folder(BUCKET, "fraud"), "cache/fraud"),
        (paths.scores_file(BUCKET, "fraud", "2027-01-15", "all.parquet"), "scores/fraud/2027-01-15/all.parquet"),
        (paths.version_folder(BUCKET, "fraud", "fraud-7-0a1b2c3d"), "models/fraud/fraud-7-0a1b2c3d"),
    ],
)
def test_each_path_is_the_documented_one(built: str, documented: str) -> None:
    """Old runs, retention rules and IAM policies depend on these keys, so they never change."""
    assert built == f"{BUCKET}/{documented}"


def test_a_stage_finds_root_and_checkpoints_from_its_output_uri() -> None:
    """A pod knows only where it writes."""
    assert paths.root_of(LAUNCH, "fraud-7") == BUCKET
    assert paths.checkpoints_beside(LAUNCH) == paths.checkpoints_folder(BUCKET, "fraud-7")
    assert paths.root_of(LAUNCH, "fraud-8") == paths.root_of("/tmp/elsewhere") == ""


def test_no_other_module_spells_the_layout() -> None:
    """An f-string with `runs/` or `models/` elsewhere is a second copy of the layout."""
    found = []
    pages = ROOT / "cli" / "console"  # whose own URLs begin with a slash
    for package in ("statemachine", "handlers", "training", "clients", "cli", "local", "simulation"):
        for file in sorted((ROOT / package).rglob("*.py")):
            if file == ROOT / "statemachine" / "contracts" / "paths.py":
                continue
            for number, line in enumerate(file.read_text().splitlines(), 1):
                own = pages in file.parents and ("/runs/" in line or "/models/" in line)
                if SPELLED.search(line) and not own and not any(part in line for part in NOT_OURS):
                    found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []
