"""The users' own CI/CD deploys no hash that was not published, and its pipelines name the images that it pushed."""

import sys
import tomllib

import pytest
import yaml
from manifests import ROOT

sys.path.insert(0, str(ROOT / "deploy/tools"))

from pinned_pipelines import pinned

JOBS = yaml.safe_load((ROOT / ".github/workflows/deploy.yml").read_text())["jobs"]
ORDER = (
    "docker/images.sh",
    "pinned_pipelines.py",
    "make build",
    "training.pipelines.publish",
    'doctor --only "pipelines are published"',
    "sam deploy",
)


def test_the_workflow_tests_builds_publishes_asks_and_deploys_in_this_order():
    """The check that KFP has every hash runs after publishing and before the deployment, in one job."""
    assert JOBS["release"]["needs"] == "test"
    assert "make test" in str(JOBS["test"])
    script = "\n".join(step.get("run", "") for step in JOBS["release"]["steps"])
    places = [script.find(part) for part in ORDER]
    assert -1 not in places, ORDER[places.index(-1)]
    assert places == sorted(places)
    assert not any(step.get("continue-on-error") for step in JOBS["release"]["steps"])


def test_the_question_that_stands_before_the_deployment_exists():
    """`--only` must name a check; without a match the status is 1."""
    from cli.migration.phases.installation import CHECKS

    assert [check.needs for check in CHECKS if "pipelines are published" in check.name] == [""]


def test_pipelines_name_the_images_that_were_pushed():
    """By digest, train on the GPU's, shadow on the serving image's, everything else unchanged."""
    text = (ROOT / "pipelines.toml").read_text()
    images = {"training": "r/fraudloop/training@sha256:aa", "training_gpu": "r/fraudloop/training-gpu@sha256:bb"}
    images["shadow"] = "r/fraudloop/shadow@sha256:cc"
    before, after = tomllib.loads(text), tomllib.loads(pinned(text, images))
    assert after["default"].pop("image") == images["training"]
    assert after["steps"]["train"].pop("image") == images["training_gpu"]
    assert after["steps"]["shadow"].pop("image") == images["shadow"]
    before["default"].pop("image")
    before["steps"]["shadow"].pop("image")
    assert after == before


def test_settings_of_another_form_are_refused():
    """A default without an image would keep the image of the last release, silently."""
    with pytest.raises((SystemExit, KeyError)):
        pinned("[default]\n[steps.train]\n", {"training": "a", "training_gpu": "b", "shadow": "c"})
