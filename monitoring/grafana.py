"""Renders the tables of `monitoring.panels` as Grafana dashboards. `python -m monitoring.grafana` writes the JSON
files.
"""

from pathlib import Path

from grafana_foundation_sdk.builders import cloudwatch, common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.cloudwatch import CloudWatchQueryMode, MetricEditorMode, MetricQueryType
from grafana_foundation_sdk.models.common import GraphThresholdsStyleMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode

from monitoring.panels import BOARDS, Board, LambdaMetric, Panel, Query
from statemachine.contracts.metrics import NAMESPACE

FOLDER = Path(__file__).parent / "dashboards"
PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${prometheus}")
CLOUDWATCH = DataSourceRef(type_val="cloudwatch", uid="${cloudwatch}")
WIDTH, HEIGHT = 8, 8  # of Grafana's 24 columns


def render(board: Board) -> str:
    """Return the dashboard as JSON text; equal tables give equal text."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .tags(["fraudloop"])
        .refresh("1m")
        .time("now-7d", "now")
        .with_variable(dashboard.DatasourceVariable("prometheus").type("prometheus"))
        .with_variable(dashboard.DatasourceVariable("cloudwatch").type("cloudwatch"))
        .with_variable(_models())
        .with_variable(_stacks())
    )
    for heading, panels in board.rows.items():
        built.with_row(dashboard.Row(heading))
        for panel in panels:
            built.with_panel(_panel(panel))
    return JSONEncoder(sort_keys=True, indent=1).encode(built.build()) + "\n"


def _models() -> dashboard.QueryVariable:
    query = "label_values(fraudloop_stage_started_timestamp_seconds, model)"
    return dashboard.QueryVariable("model").query(query).datasource(PROMETHEUS).include_all(True).multi(True)


def _stacks() -> dashboard.QueryVariable:
    """A variable that selects one stack: stacks in one account share the metrics' namespace."""
    query = f"dimension_values(default, {NAMESPACE}, TickDueRuns, stack)"
    return dashboard.QueryVariable("stack").query(query).datasource(CLOUDWATCH)


def _panel(panel: Panel) -> timeseries.Panel:
    drawn = timeseries.Panel().title(panel.title).unit(panel.unit).span(WIDTH).height(HEIGHT)
    if note := _note(panel):
        drawn.description(note)
    if panel.thresholds:
        drawn.thresholds(_thresholds(panel)).thresholds_style(_dashed())
    for number, query in enumerate(panel.queries):
        ref = chr(ord("A") + number)
        drawn.with_target(_promql(query, ref) if isinstance(query, Query) else _metric(query, ref))
    # A panel has queries of one kind only, and so one data source.
    return drawn.datasource(PROMETHEUS if isinstance(panel.queries[0], Query) else CLOUDWATCH)


def _note(panel: Panel) -> str:
    limits = "; ".join(f"{value:g}: {meaning}" for value, meaning in panel.thresholds.items())
    return " ".join(part for part in (panel.note, limits) if part)


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    steps = [
        Threshold(value=None, color="transparent"),
        *(Threshold(value=v, color="orange") for v in panel.thresholds),
    ]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _dashed() -> common.GraphThresholdsStyleConfig:
    return common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)


def _promql(query: Query, ref: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(ref)


def _metric(query: LambdaMetric, ref: str) -> cloudwatch.CloudWatchMetricsQuery:
    selection = f'Namespace="{NAMESPACE}" MetricName="{query.name}" stack="$stack"'
    return (
        cloudwatch.CloudWatchMetricsQuery()
        .ref_id(ref)
        .query_mode(CloudWatchQueryMode.METRICS)
        .metric_query_type(MetricQueryType.SEARCH)
        .metric_editor_mode(MetricEditorMode.CODE)
        .expression(f"SEARCH('{selection}', '{query.statistic}')")
        .label(query.name)
        .region("default")
        .period("300")
    )


def write(folder: Path = FOLDER) -> list[Path]:
    """Write one file per dashboard and return them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{board.uid}.json" for board in BOARDS]
    for path, board in zip(paths, BOARDS, strict=True):
        path.write_text(render(board))
    return paths


if __name__ == "__main__":
    for written in write():
        print(written)  # noqa: T201 — the files that were written are the command's result
