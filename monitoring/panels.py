"""The dashboards as tables of panels, each with a title, a unit and PromQL or CloudWatch queries."""

from dataclasses import dataclass, field

MODEL = 'model=~"$model"'


@dataclass(frozen=True)
class Query:
    """One PromQL expression, and the legend of its series."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class LambdaMetric:
    """One metric of the controller in CloudWatch, with one line per set of dimensions."""

    name: str
    statistic: str = "Sum"


@dataclass(frozen=True)
class Panel:
    """One chart. `thresholds` are dashed lines: value → meaning."""

    title: str
    unit: str
    queries: tuple[Query | LambdaMetric, ...]
    thresholds: dict[float, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Board:
    """One dashboard: rows of panels by their heading."""

    uid: str
    title: str
    rows: dict[str, tuple[Panel, ...]]


def _quality(metric: str, title: str, thresholds: dict[float, str] | None = None, note: str = "") -> Panel:
    query = Query(f"fraudloop_model_{metric}{{{MODEL}}}", "{{model}} {{subject}}")
    return Panel(title, "percentunit", (query,), thresholds or {}, note)


RUNS = Board(
    "fraudloop-runs",
    "fraudloop · runs and stages",
    {
        "Runs, as the controller decides them": (
            Panel(
                "Runs by how they ended",
                "short",
                tuple(
                    map(
                        LambdaMetric, ("RunsSucceeded", "RunsRejected", "RunsFailed", "RunsRolledBack", "RunsCancelled")
                    )
                ),
            ),
            Panel("How long a run takes", "s", (LambdaMetric("RunDuration", "Average"),)),
            Panel("Data objects", "short", (LambdaMetric("ObjectsAccepted"), LambdaMetric("ObjectsQuarantined"))),
            Panel("Age of the oldest waiting object", "s", (LambdaMetric("IntakeOldestAge", "Maximum"),)),
            Panel(
                "Trouble",
                "short",
                tuple(map(LambdaMetric, ("StageOverdue", "RestoreFailed", "WorldUnreachable", "SlackFailed"))),
            ),
        ),
        "Stages, as their pods tell": (
            Panel(
                "Last outcome", "short", (Query(f"fraudloop_stage_outcome{{{MODEL}}} == 1", "{{stage}} {{outcome}}"),)
            ),
            Panel("Duration", "s", (Query(f"fraudloop_stage_duration_seconds{{{MODEL}}}", "{{stage}}"),)),
            Panel("Running since", "s", (Query(f"stage:running:seconds{{{MODEL}}}", "{{stage}}"),)),
            Panel("Attempt", "short", (Query(f"fraudloop_stage_attempt{{{MODEL}}}", "{{stage}}"),)),
            Panel("Peak memory", "bytes", (Query(f"fraudloop_stage_peak_memory_bytes{{{MODEL}}}", "{{stage}}"),)),
            Panel(
                "Since the last success",
                "s",
                (Query(f"time() - fraudloop_stage_succeeded_timestamp_seconds{{{MODEL}}}", "{{stage}}"),),
            ),
            Panel("Since the last push", "s", (Query(f"time() - push_time_seconds{{{MODEL}}}", "{{stage}}"),)),
        ),
    },
)

QUALITY = Board(
    "fraudloop-quality",
    "fraudloop · model quality and drift",
    {
        "At natural prevalence, on later data": (
            _quality("auc_roc", "AUC-ROC", {0.90: "floor: below it nothing is released", 0.92: "target"}),
            _quality(
                "f1",
                "F1 at the chosen threshold",
                {0.80: "plan: acceptable", 0.84: "plan: target"},
                "The plan's lines were drawn for an under-sampled test set; at natural prevalence they are far away.",
            ),
            _quality("average_precision", "Average precision"),
            _quality("precision", "Precision"),
            _quality("recall", "Recall"),
            _quality("accuracy", "Accuracy (gates nothing)"),
            _quality("brier", "Brier score (lower is better)"),
        ),
        "Data": (
            Panel(
                "Drift by feature (PSI)",
                "short",
                (Query(f"topk(10, fraudloop_feature_drift_psi{{{MODEL}}})", "{{feature}}"),),
                {0.5: "limit"},
            ),
            Panel("Objects of the last run", "short", (Query(f"fraudloop_objects{{{MODEL}}}", "{{status}}"),)),
            Panel("Rows of the last run", "short", (Query(f"fraudloop_rows{{{MODEL}}}", "{{stage}}"),)),
        ),
    },
)

SERVING = Board(
    "fraudloop-serving",
    "fraudloop · serving",
    {
        "Requests": (
            Panel("Requests", "reqps", (Query("model:inference_requests:rate5m", "{{model}}"),)),
            Panel(
                "Failures",
                "percentunit",
                (Query("model:inference_failures:ratio_rate5m", "{{model}}"),),
                {0.01: "page"},
            ),
            Panel(
                "Failures by reason",
                "reqps",
                (Query("sum by (model, reason) (rate(nv_inference_request_failure[5m]))", "{{model}} {{reason}}"),),
            ),
            Panel("Rows", "rowsps", (Query("sum by (model) (rate(nv_inference_count[5m]))", "{{model}}"),)),
            Panel(
                "Versions that serve",
                "short",
                (Query('count by (version) (nv_inference_count{model!=""})', "{{version}}"),),
            ),
            Panel("Targets up", "short", (Query('sum by (job) (up{job=~"triton|dcgm|pushgateway"})', "{{job}}"),)),
        ),
        "Latency": (
            Panel("Mean", "s", (Query("model:inference_latency_seconds:mean5m", "{{model}}"),), {0.1: "ticket"}),
            Panel(
                "Quantiles (each pod's own window)",
                "µs",
                (Query("max by (model, quantile) (nv_inference_request_summary_us)", "{{model}} {{quantile}}"),),
            ),
            Panel(
                "Where the time goes",
                "percentunit",
                (
                    Query(
                        "sum by (model) (rate(nv_inference_queue_duration_us[5m]))"
                        " / sum by (model) (rate(nv_inference_request_duration_us[5m]))",
                        "{{model}} waiting",
                    ),
                    Query(
                        "sum by (model) (rate(nv_inference_compute_infer_duration_us[5m]))"
                        " / sum by (model) (rate(nv_inference_request_duration_us[5m]))",
                        "{{model}} in the model",
                    ),
                ),
            ),
            Panel("Waiting", "short", (Query("sum by (model) (nv_inference_pending_request_count)", "{{model}}"),)),
        ),
        "Payments, as fraud_live answers them": (
            Panel("Payments", "reqps", (Query(f"model:live_answers:rate5m{{{MODEL}}}", "{{model}}"),)),
            Panel(
                "Slower than 10 ms",
                "percentunit",
                (Query(f"model:live_slow:ratio_rate5m{{{MODEL}}}", "{{model}}"),),
                {0.01: "objective"},
            ),
            Panel(
                "Without their history, by reason",
                "percentunit",
                (
                    Query(
                        f'sum by (model, degraded) (rate(fraudloop_live_answers_total{{{MODEL}, degraded!=""}}[5m]))'
                        " / on (model) group_left () model:live_answers:rate5m",
                        "{{model}} {{degraded}}",
                    ),
                ),
                {0.01: "objective", 0.05: "page"},
            ),
            Panel(
                "Refused, and scored again",
                "reqps",
                (
                    Query(f"sum by (model) (rate(fraudloop_live_refused_total{{{MODEL}}}[5m]))", "{{model}} refused"),
                    Query(
                        f"sum by (model) (rate(fraudloop_live_conflicts_total{{{MODEL}}}[5m]))",
                        "{{model}} scored again",
                    ),
                ),
            ),
            Panel(
                "Waiting for the online store, per payment",
                "s",
                (Query(f"model:live_store_seconds:mean5m{{{MODEL}}}", "{{model}}"),),
                {0.02: "default deadline"},
            ),
            Panel(
                "Latency with queue and HTTP (each pod's own window)",
                "µs",
                (Query('max by (quantile) (nv_inference_request_summary_us{model="fraud_live"})', "{{quantile}}"),),
            ),
        ),
        "Live scores": (
            Panel(
                "Champion beside its first days",
                "short",
                (Query(f"fraudloop_live_drift_value{{{MODEL}}}", "{{model}} {{check}}"),),
            ),
            Panel("Drifted", "bool_yes_no", (Query(f"fraudloop_live_drifted{{{MODEL}}}", "{{model}} {{check}}"),)),
            Panel("Alerts per payment", "percentunit", (Query(f"fraudloop_live_alert_rate{{{MODEL}}}", "{{span}}"),)),
            Panel(
                "What alerts turned out to be, by age in months",
                "percentunit",
                (
                    Query(f"fraudloop_live_cohort_precision{{{MODEL}}}", "precision {{age}}"),
                    Query(f"fraudloop_live_cohort_recall{{{MODEL}}}", "recall {{age}}"),
                ),
            ),
            Panel("Score log: archived", "rowsps", (Query("rate(fraudloop_score_log_rows[5m])", "{{model}}"),)),
            Panel("Score log: behind", "s", (Query("fraudloop_score_log_lag_seconds", "{{model}}"),), {600: "page"}),
            Panel(
                "Score log: lost and refused",
                "short",
                (
                    Query("increase(fraudloop_score_log_lost[1h])", "{{model}} lost"),
                    Query("increase(fraudloop_score_log_rejected[1h])", "{{model}} refused"),
                ),
            ),
        ),
    },
)

GPU = Board(
    "fraudloop-gpu",
    "fraudloop · GPU",
    {
        "GPUs": (
            Panel(
                "Utilisation",
                "percent",
                (Query("max by (Hostname, gpu, pod) (DCGM_FI_DEV_GPU_UTIL)", "{{Hostname}} {{gpu}} {{pod}}"),),
                {20: "idle while a model trains"},
            ),
            Panel(
                "Memory",
                "percentunit",
                (Query("gpu:memory_used:ratio", "{{Hostname}} {{gpu}} {{pod}}"),),
                {0.95: "full"},
            ),
            Panel("Memory in use", "mbytes", (Query("DCGM_FI_DEV_FB_USED", "{{Hostname}} {{gpu}} {{pod}}"),)),
            Panel("Temperature", "celsius", (Query("DCGM_FI_DEV_GPU_TEMP", "{{Hostname}} {{gpu}}"),)),
        )
    },
)

COST = Board(
    "fraudloop-cost",
    "fraudloop · cost and objectives",
    {
        "Objectives (fraudloop slo)": (
            Panel("Met", "bool_yes_no", (Query(f"fraudloop_slo_met{{{MODEL}}}", "{{model}} {{objective}}"),)),
            Panel("Reached", "short", (Query(f"fraudloop_slo_value{{{MODEL}}}", "{{model}} {{objective}}"),)),
            Panel("Asked", "short", (Query(f"fraudloop_slo_target{{{MODEL}}}", "{{model}} {{objective}}"),)),
        ),
        "Money": (
            Panel("A run", "currencyUSD", (Query(f"fraudloop_run_cost_dollars{{{MODEL}}}", "{{model}} {{basis}}"),)),
            Panel(
                "By stage, last attempt",
                "currencyUSD",
                (Query(f"fraudloop_stage_cost_dollars{{{MODEL}}}", "{{stage}}"),),
            ),
            Panel("Run by run (controller)", "currencyUSD", (LambdaMetric("RunCost", "Average"),)),
        ),
    },
)

BOARDS = (RUNS, QUALITY, SERVING, GPU, COST)
