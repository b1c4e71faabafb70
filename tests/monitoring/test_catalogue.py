"""Rules and dashboards speak of nothing but the catalogue, and promtool accepts every expression."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from monitoring import grafana
from monitoring.panels import BOARDS, LambdaMetric, Query
from statemachine.contracts.metrics import CATALOGUE, METRICS, Emitter, MetricKind, emitted_by, metric

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "monitoring/rules").glob("*.yml"))
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="promtool is not installed (apt-get install prometheus)")

PROMQL_WORDS = {"by", "on", "and", "or", "unless", "bool", "ignoring", "group_left", "without", "offset"}


def rules() -> list[dict]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def panels():
    return [panel for board in BOARDS for row in board.rows.values() for panel in row]


def expressions() -> list[str]:
    drawn = [query.expr for panel in panels() for query in panel.queries if isinstance(query, Query)]
    return drawn + [rule["expr"] for rule in rules()]


def metrics_of(expr: str) -> set[str]:
    """The metric names in PromQL: identifiers that are no function, no keyword, no label."""
    bare = re.sub(r'"[^"]*"', "", expr)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|on|without|ignoring)\s*\([^)]*\)", "", bare)
    words = re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?!\w)(?!\s*\()", bare)
    return set(words) - PROMQL_WORDS - {"e6"}


def labels_of(expr: str) -> set[str]:
    """The labels that PromQL matches on or groups by."""
    grouped = re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", expr)
    matched = re.findall(r"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*\"", expr)
    return {name.strip() for group in grouped for name in group.split(",") if name.strip()} | set(matched)


def test_a_name_is_in_the_catalogue_once():
    """Each metric has one entry, which describes it."""
    assert len(METRICS) == len(CATALOGUE)
    assert all(line.help and line.labels for line in CATALOGUE)


@pytest.mark.parametrize("line", CATALOGUE, ids=lambda line: line.name)
def test_names_follow_their_emitter(line):
    """Lambdas speak CloudWatch's CamelCase and units; everybody else Prometheus' snake_case."""
    if line.emitter is Emitter.LAMBDA:
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]+", line.name)
        assert line.unit in {"Count", "Seconds", "None"}
        assert (line.kind is MetricKind.COUNTER) == (line.unit == "Count")
    elif line.emitter in {Emitter.STAGE, Emitter.CLI, Emitter.LIVE, Emitter.PAYMENTS}:
        assert re.fullmatch(r"fraudloop_[a-z0-9_]+", line.name)
        assert not {"run", "run_id"} & set(line.labels)


def test_nobody_may_emit_what_is_not_listed():
    """Looking up an unknown metric fails instead of creating a new one."""
    with pytest.raises(KeyError):
        metric("RunsFaild")


@pytest.mark.parametrize("expr", expressions())
def test_every_metric_and_label_is_in_the_catalogue(expr):
    """What a rule or a panel asks for is recorded by a rule or emitted, with those labels."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    names = metrics_of(expr)
    assert names
    assert names <= recorded | set(METRICS), names - recorded - set(METRICS)
    known = {label for line in CATALOGUE for label in line.labels}
    assert labels_of(expr) <= known, labels_of(expr) - known


def test_lambda_panels_ask_for_lambda_metrics():
    """A CloudWatch panel queries metrics that the controller emits, and every failure metric has a panel."""
    asked = {query.name for panel in panels() for query in panel.queries if isinstance(query, LambdaMetric)}
    assert asked <= {line.name for line in emitted_by(Emitter.LAMBDA)}


def test_lambda_panels_draw_one_stack():
    """Each CloudWatch query names the stack that the dashboard's variable chose."""
    for board in BOARDS:
        drawn = json.loads(grafana.render(board))
        assert "stack" in [variable["name"] for variable in drawn["templating"]["list"]]
        asked = [
            target["expression"]
            for panel in drawn["panels"]
            for target in panel.get("targets", ())
            if "expression" in target
        ]
        assert all('stack="$stack"' in expression for expression in asked)


def test_a_panel_draws_from_one_source():
    """Grafana gives a panel one data source, so its queries are all PromQL or all CloudWatch."""
    assert all(len({type(query) for query in panel.queries}) == 1 for panel in panels())


@pytest.mark.parametrize("emitter", [Emitter.STAGE, Emitter.CLI, Emitter.LIVE, Emitter.PAYMENTS])
def test_all_that_we_push_is_drawn(emitter):
    """A metric without a panel is not emitted."""
    used = set().union(*map(metrics_of, expressions()))
    assert {line.name for line in emitted_by(emitter)} <= used


def test_the_committed_dashboards_are_those_of_the_tables(tmp_path):
    """`python -m monitoring.grafana` has been run since the tables changed."""
    for path in grafana.write(tmp_path):
        assert (grafana.FOLDER / path.name).read_text() == path.read_text(), f"{path.name} is stale"
    assert {path.name for path in grafana.FOLDER.iterdir()} == {path.name for path in tmp_path.iterdir()}


def test_the_plan_s_lines_are_drawn():
    """AUC is held against 0.90 and 0.92, F1 against 0.80 and 0.84."""
    board = json.loads(grafana.render(next(b for b in BOARDS if b.uid == "fraudloop-quality")))
    drawn = {p["title"]: p for p in board["panels"] if p["type"] == "timeseries"}
    steps = {
        t: [s["value"] for s in p["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])]
        for t, p in drawn.items()
    }
    assert steps["AUC-ROC"] == [None, 0.90, 0.92]
    assert steps["F1 at the chosen threshold"] == [None, 0.80, 0.84]


@needs_promtool
def test_promtool_parses_every_expression_of_the_dashboards(tmp_path):
    """Each panel's expression is valid PromQL."""
    drawn = [
        query.expr.replace("$model", "fraud")
        for panel in panels()
        for query in panel.queries
        if isinstance(query, Query)
    ]
    group = {"name": "panels", "rules": [{"record": f"panel:{n}", "expr": expr} for n, expr in enumerate(drawn)]}
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [group]}))
    checked = subprocess.run([str(PROMTOOL), "check", "rules", path], capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stderr + checked.stdout
    assert f"{len(drawn)} rules found" in checked.stdout


@needs_promtool
def test_promtool_accepts_the_rules_and_their_tests():
    """The rules are valid, and every case of monitoring/promtool holds."""
    cases = sorted((ROOT / "monitoring/promtool").glob("*.test.yml"))
    for command in (["check", "rules", *RULES], ["test", "rules", *cases]):
        ran = subprocess.run([str(PROMTOOL), *map(str, command)], capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_promtool
def test_prometheus_accepts_its_configuration():
    """The scrape configuration is valid for the Prometheus that is installed."""
    command = [str(PROMTOOL), "check", "config", "--syntax-only", str(ROOT / "monitoring/prometheus.yml")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_is_proven_to_fire_and_to_stay_silent():
    """promtool's cases hold for each alert one moment at which it fires and one at which it does not."""
    cases = [
        case
        for path in (ROOT / "monitoring/promtool").glob("*.yml")
        for case in yaml.safe_load(path.read_text())["tests"]
    ]
    names = [
        (check["alertname"], bool(check["exp_alerts"])) for case in cases for check in case.get("alert_rule_test", [])
    ]
    for name in (rule["alert"] for rule in rules() if "alert" in rule):
        assert {fires for alert, fires in names if alert == name} == {True, False}, name


def test_every_alert_says_how_loud_it_is_and_where_to_read():
    """An alert has a severity that Alertmanager routes, a summary, and a heading in the runbook."""
    for rule in (rule for rule in rules() if "alert" in rule):
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert all(rule["annotations"][part] for part in ("summary", "description"))


def test_the_alerts_know_the_same_limits_as_the_configuration():
    """Deadlines, the AUC floor and the drift limit are those of fraudloop.toml."""
    model = tomllib.loads((ROOT / "fraudloop.toml").read_text())["models"]["fraud"]
    expr = {rule["alert"]: rule["expr"] for rule in rules() if "alert" in rule}
    limits = {
        stage: int(limit)
        for stages, limit in re.findall(r'stage=~?"([^"]+)"\} > (\d+)', expr["StageStuck"])
        for stage in stages.split("|")
    }
    assert limits == {stage: settings["run_deadline"] for stage, settings in model["stages"].items()}
    assert float(expr["ModelBelowFloor"].split("<")[1]) == model["gate"]["min_auc_roc"]
    assert float(expr["FeatureDrift"].split(">")[1]) == model["gate"]["max_drift"]
