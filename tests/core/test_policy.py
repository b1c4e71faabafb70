"""A mistake in `fraudloop.toml` is found when it is read, and the message names the key."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from statemachine.contracts.errors import Misconfigured
from statemachine.contracts.object_kind import ObjectKind
from statemachine.contracts.stage import Stage
from statemachine.core.policy import Policy, StagePolicy, parse

ROOT = Path(__file__).parents[2]


def parsed(**table: Any) -> Policy:
    return parse({"models": {"fraud": {"prefix": "data/fraud/", **table}}}, "s3://artifacts")["fraud"]


def test_the_file_in_the_repository_parses() -> None:
    """And says what the documentation says: these windows, these deadlines."""
    policy = parse(tomllib.loads((ROOT / "fraudloop.toml").read_text()), "s3://artifacts")["fraud"]
    assert (policy.intake.quiet_period, policy.intake.max_wait) == (300, 1800)
    assert policy.of(Stage.TRAIN) == StagePolicy(1800, 14_400)
    assert policy.root == "s3://artifacts"


def test_a_second_model_is_configuration() -> None:
    """Two tables, two models; a missing key has its default."""
    tables = {"models": {"fraud": {"prefix": "data/fraud/"}, "risk": {"prefix": "data/risk/", "strict": True}}}
    policies = parse(tables, "s3://artifacts")
    assert (policies["risk"].strict, policies["fraud"].strict) == (True, False)
    assert policies["risk"].of(Stage.DEPLOY) == StagePolicy()


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"policy": {"max_attemps": 3}}, "models.fraud.policy: unknown max_attemps"),
        ({"policy": {"max_attempts": "three"}}, "models.fraud.policy.max_attempts"),
        ({"policy": {"require_approval": 1}}, "models.fraud.policy.require_approval"),
        ({"policy": {"poll": True}}, "models.fraud.policy.poll"),
        ({"intake": {"quiet": 3}}, "models.fraud.intake: unknown quiet"),
        ({"intake": {"success_marker": 3}}, "models.fraud.intake.success_marker"),
        ({"stages": {"trian": {}}}, "models.fraud.stages.trian"),
        ({"stages": {"train": {"deadline": 3}}}, "models.fraud.stages.train: unknown deadline"),
        ({"serving": {"applicaton": "x"}}, "models.fraud.serving: unknown applicaton"),
        ({"gate": {"models.fraud.gate: unknown min_auc": 0.9}}, "models.fraud.gate: unknown min_auc"),
        ({"aproval": {"approvers": 2}}, "models.fraud: unknown aproval"),
        ({"approval": {"seperate": True}}, "models.fraud.approval: unknown seperate"),
        ({"shadow": {"requests": 20}}, "models.fraud.shadow: min_requests is at least 1"),
        ({"shadow": {"min_requests": 0}}, "models.fraud.shadow: min_requests is at least 1"),
        ({"prefix": ""}, "models.fraud.prefix"),
    ],
)
def test_the_message_names_the_key(table: dict[str, Any], named: str) -> None:
    """Unknown keys, wrong types, missing values."""
    with pytest.raises(Misconfigured, match=named.replace(".", r"\.")):
        parsed(**table)


@pytest.mark.parametrize("tables", [{}, {"models": {}}, {"models": 3}])
def test_a_file_without_models_is_refused(tables: dict[str, Any]) -> None:
    """There is nothing to run."""
    with pytest.raises(Misconfigured, match="names no model"):
        parse(tables, "s3://artifacts")


@pytest.mark.parametrize("name", ["Fraud", "9x", "fraud.x", "a" * 32, "fraud-rollback"])
def test_a_model_name_fits_into_every_name_made_of_it(name: str) -> None:
    """KFP names, S3 keys; and `<model>-<epoch>` must not look like another model's rollback."""
    with pytest.raises(Misconfigured, match=name):
        parse({"models": {name: {"prefix": "x/"}}}, "s3://artifacts")


def test_prefixes_that_overlap_are_refused() -> None:
    """An object would belong to two models."""
    tables = {"models": {"a": {"prefix": "data/"}, "b": {"prefix": "data/b/"}}}
    with pytest.raises(Misconfigured, match="overlap"):
        parse(tables, "s3://artifacts")


@pytest.mark.parametrize("table", [{"labels_prefix": "data/fraud/labels/"}, {"prefix": "labels/"}])
def test_labels_lie_under_a_prefix_of_their_own(table: dict[str, str]) -> None:
    """`labels/<model>/` unless it is said; below the data's they would be transactions, too."""
    assert parsed().labels_prefix == "labels/fraud/"
    assert parsed(labels_prefix="reports/").prefixes == {"data/fraud/": ObjectKind.DATA, "reports/": ObjectKind.LABELS}
    with pytest.raises(Misconfigured, match=r"overlap.*labels_prefix"):
        parsed(**table)
