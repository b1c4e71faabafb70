"""The catalogue of metrics: code, alerts, dashboards and the reference page all come from this one table.

Lambdas emit to CloudWatch (EMF, namespace `Fraudloop`, names in CamelCase), stage pods and the command line push to a
Pushgateway, Triton and DCGM are scraped. A Pushgateway group is `model` and `stage`, never a run: groups never
expire, so one group a run would grow without end and alert for ever.
"""

from dataclasses import dataclass
from enum import Enum

NAMESPACE = "Fraudloop"


class MetricKind(Enum):
    """How a metric behaves over time."""

    COUNTER = "counter"
    GAUGE = "gauge"
    SUMMARY = "summary"


class Emitter(Enum):
    """Who emits the metric, and how it is delivered."""

    LAMBDA = "Lambda → CloudWatch (EMF)"
    STAGE = "stage pod → Pushgateway"
    CLI = "`fraudloop slo --push` → Pushgateway"
    LIVE = "score log archiver, `fraudloop drift --push` → Pushgateway"
    PUSHGATEWAY = "Pushgateway, scraped"
    TRITON = "Triton, scraped"
    PAYMENTS = "`fraud_live` in Triton, scraped"
    DCGM = "DCGM exporter, scraped"
    PROMETHEUS = "Prometheus itself"


@dataclass(frozen=True)
class Metric:
    """One line of the catalogue. `unit` is CloudWatch's name for a Lambda's metric, the base unit for the others."""

    name: str
    kind: MetricKind
    unit: str
    labels: tuple[str, ...]
    emitter: Emitter
    help: str


def _lambda(name: str, unit: str, help: str, *labels: str) -> Metric:
    kind = MetricKind.GAUGE if unit != "Count" else MetricKind.COUNTER
    return Metric(name, kind, unit, (*(labels or ("model",)), "stack"), Emitter.LAMBDA, help)


def _stage(name: str, unit: str, help: str, *labels: str) -> Metric:
    return Metric(f"fraudloop_{name}", MetricKind.GAUGE, unit, ("model", "stage", *labels), Emitter.STAGE, help)


def _slo(name: str, unit: str, help: str, *labels: str) -> Metric:
    return Metric(f"fraudloop_{name}", MetricKind.GAUGE, unit, ("model", *labels), Emitter.CLI, help)


def _live(name: str, unit: str, help: str, *labels: str) -> Metric:
    return Metric(f"fraudloop_{name}", MetricKind.GAUGE, unit, ("model", *labels), Emitter.LIVE, help)


def _triton(name: str, kind: MetricKind, unit: str, help: str, *labels: str) -> Metric:
    return Metric(f"nv_inference_{name}", kind, unit, ("model", "version", *labels), Emitter.TRITON, help)


def _payments(name: str, unit: str, help: str, *labels: str) -> Metric:
    return Metric(f"fraudloop_live_{name}", MetricKind.COUNTER, unit, ("model", *labels), Emitter.PAYMENTS, help)


def _dcgm(name: str, unit: str, help: str) -> Metric:
    return Metric(
        f"DCGM_FI_DEV_{name}", MetricKind.GAUGE, unit, ("gpu", "Hostname", "namespace", "pod"), Emitter.DCGM, help
    )


CATALOGUE = (
    # What the controller decides. `stack` and `model` are the dimensions everywhere; `stage` where it says so.
    _lambda("RunsStarted", "Count", "runs that started"),
    _lambda("RunsSucceeded", "Count", "runs that ended SUCCEEDED: a better model serves"),
    _lambda("RunsRejected", "Count", "runs that ended REJECTED: the judgement was no"),
    _lambda("RunsFailed", "Count", "runs that ended FAILED: somebody has to look"),
    _lambda("RunsRolledBack", "Count", "runs whose deployment was rolled back to the champion"),
    _lambda("RunsCancelled", "Count", "runs that a person cancelled"),
    _lambda("RunDuration", "Seconds", "from the closing of the window to the end of the run"),
    _lambda("StageDuration", "Seconds", "from submission to report, successful attempts", "model", "stage"),
    _lambda("StageRetried", "Count", "attempts after the first", "model", "stage"),
    _lambda("StageOverdue", "Count", "attempts stopped at their start or run deadline", "model", "stage"),
    _lambda("LaunchesStuck", "Count", "KFP runs that never ended when stopped, and count as over", "model", "stage"),
    _lambda("RestoreFailed", "Count", "the last good version could not be restored: the model is on hold"),
    _lambda("RunCost", "None", "marginal dollars of the run, by the price table"),
    _lambda("ModelAucRoc", "None", "AUC-ROC of the version that was deployed"),
    _lambda("ModelAveragePrecision", "None", "average precision of the version that was deployed"),
    _lambda("ModelF1", "None", "F1 of the version that was deployed, at its threshold"),
    _lambda("ObjectsAccepted", "Count", "data objects that runs trained on"),
    _lambda("ObjectsQuarantined", "Count", "data objects that were put aside"),
    _lambda("IntakeOldestAge", "Seconds", "age of the oldest object in the open window"),
    _lambda("TickDueRuns", "Count", "runs found due by a tick; silence means that nothing moves", "service"),
    _lambda("ModelsNotTended", "Count", "models for which a tick had no time left", "service"),
    _lambda("UnreachableRuns", "Count", "runs in flight that could not be looked at the last time", "service"),
    _lambda("WorldUnreachable", "Count", "passes that ended because KFP, S3 or DynamoDB did not answer", "service"),
    _lambda("MessagesMalformed", "Count", "messages that cannot be understood", "service"),
    _lambda("SlackFailed", "Count", "announcements that Slack did not take", "service"),
    # What each stage pod says of its last run.
    _stage("stage_started_timestamp_seconds", "seconds", "when the last attempt began (Unix time)"),
    _stage("stage_finished_timestamp_seconds", "seconds", "when the last attempt ended (Unix time)"),
    _stage("stage_succeeded_timestamp_seconds", "seconds", "when the stage last ended with `ok` (Unix time)"),
    _stage("stage_outcome", "", "1 for the outcome of the last attempt, 0 for the others", "outcome"),
    _stage("stage_duration_seconds", "seconds", "how long the last attempt took"),
    _stage("stage_attempt", "", "which attempt the last one was"),
    _stage("stage_peak_memory_bytes", "bytes", "peak resident memory of the last attempt"),
    _stage("objects", "objects", "objects of the last run", "status"),
    _stage("rows", "rows", "rows the last attempt worked on"),
    _stage("model_auc_roc", "", "AUC-ROC at natural prevalence", "subject"),
    _stage("model_average_precision", "", "average precision at natural prevalence", "subject"),
    _stage("model_f1", "", "F1 at the chosen threshold", "subject"),
    _stage("model_precision", "", "precision at the chosen threshold", "subject"),
    _stage("model_recall", "", "recall at the chosen threshold", "subject"),
    _stage("model_accuracy", "", "accuracy; it gates nothing", "subject"),
    _stage("model_brier", "", "Brier score of the calibration, lower is better", "subject"),
    _stage("feature_drift_psi", "", "population stability index against the champion's data", "feature"),
    # Are we there? Written by `fraudloop slo --push` from the table's history.
    _slo("slo_value", "", "what was reached over the window", "objective"),
    _slo("slo_target", "", "what is asked", "objective"),
    _slo("slo_met", "", "1 if the objective is met, 0 if not", "objective"),
    _slo("run_cost_dollars", "dollars", "mean cost of a run: marginal, loaded, SageMaker's", "basis"),
    _slo("stage_cost_dollars", "dollars", "mean cost of a stage in a run, all its attempts", "stage"),
    # The score log.
    _live("score_log_rows", "rows", "answers archived since the archiver began"),
    _live("score_log_rejected", "entries", "entries of the stream that are no records, since the archiver began"),
    _live("score_log_lost", "answers", "answers that the stream dropped before they were archived, since it began"),
    _live("score_log_lag_seconds", "seconds", "age of the oldest answer that is not archived"),
    # `fraudloop drift --push`, from the score log.
    _live("live_drifted", "", "1 if the champion scores otherwise than in its first days, 0 if not", "check"),
    _live("live_drift_value", "", "the figure that is compared: PSI, relative change, share", "check"),
    _live("live_alert_rate", "", "alerts per payment, in the champion's first days and recently", "span"),
    _live("live_cohort_precision", "", "frauds among the alerts of a month, by its age in months", "age"),
    _live("live_cohort_recall", "", "alerts among the known frauds of a month, by its age in months", "age"),
    # Serving.
    _triton("request_success", MetricKind.COUNTER, "requests", "requests answered"),
    _triton("request_failure", MetricKind.COUNTER, "requests", "requests refused or failed", "reason"),
    _triton("count", MetricKind.COUNTER, "rows", "inferences, batched rows counted one by one"),
    _triton("request_duration_us", MetricKind.COUNTER, "microseconds", "end-to-end time, cumulative"),
    _triton("queue_duration_us", MetricKind.COUNTER, "microseconds", "time waiting in the queue, cumulative"),
    _triton("compute_infer_duration_us", MetricKind.COUNTER, "microseconds", "time in the model, cumulative"),
    _triton("request_summary_us", MetricKind.SUMMARY, "microseconds", "end-to-end time", "quantile"),
    _triton("pending_request_count", MetricKind.GAUGE, "requests", "requests waiting"),
    _payments("answers_total", "payments", "payments answered, by why less was known than could be", "degraded"),
    _payments("slow_total", "payments", "payments that took longer than 10 ms in the model"),
    _payments("refused_total", "requests", "requests refused because a transaction is wrong"),
    _payments("store_seconds_total", "seconds", "time that payments waited for the online store, cumulative"),
    _payments("store_calls_total", "payments", "payments that asked the online store"),
    _payments("conflicts_total", "payments", "payments scored again because another one came between"),
    _dcgm("GPU_UTIL", "percent 0–100", "GPU utilisation"),
    _dcgm("FB_USED", "MiB", "framebuffer in use"),
    _dcgm("FB_FREE", "MiB", "framebuffer free"),
    _dcgm("GPU_TEMP", "°C", "GPU temperature"),
    # The monitoring's own pulse.
    Metric("up", MetricKind.GAUGE, "", ("job", "instance"), Emitter.PROMETHEUS, "1 while a target can be scraped"),
    Metric(
        "push_time_seconds",
        MetricKind.GAUGE,
        "seconds",
        ("job", "model", "stage"),
        Emitter.PUSHGATEWAY,
        "when a group was last pushed (Unix time)",
    ),
)  # fmt: skip

METRICS = {metric.name: metric for metric in CATALOGUE}


def metric(name: str) -> Metric:
    """The catalogue's line for `name`, so that nobody emits what nobody documented.

    Raises:
        KeyError: it is not in the catalogue.
    """
    return METRICS[name]


def emitted_by(emitter: Emitter) -> tuple[Metric, ...]:
    """The metrics of one kind of emitter."""
    return tuple(metric for metric in CATALOGUE if metric.emitter is emitter)
