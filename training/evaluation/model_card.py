"""The model card in Markdown: what the model is, its measured quality, and its limits of use."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from statemachine.contracts.gate import Verdict
from training.model.model import FraudModel


def card(
    title: str, model: FraudModel, evaluation: Mapping[str, Any], verdict: Verdict, data: Mapping[str, Any]
) -> str:
    """Return the card of one candidate; `data` is the data set's `dataset.json`."""
    config = model.config
    return "\n".join(
        [
            f"# {title}",
            "",
            f"The gate: {'passed' if verdict.passed else 'not passed'}. {verdict.reason}.",
            "",
            "## Model",
            "",
            f"{config.folds} cross-fitted GraphSAGE encoders (width {config.hidden_dim}) hear of the {config.fan_out}",
            f"latest of the last {config.k} strictly earlier transactions of each {', each '.join(model.sides)}; their",
            f"score goes, beside the groups {', '.join(config.groups)}, into XGBoost.",
            f"A label counts from the day after it was known; one of a column {_delay(data)} after its transaction.",
            f"Threshold {model.threshold:.4g}, by the rule {config.threshold_rule}.",
            "",
            "## Data",
            "",
            *_table(("part", "rows", "frauds"), _parts(data)),
            "",
            f"Data sha256 `{data['data_sha256']}`, schema sha256 `{data['schema_sha256']}`, seed {config.seed}.",
            "",
            *_labels(data),
            "## Measured on later data, at natural prevalence",
            "",
            *_table(("metric", "value"), [(name, f"{value:.4g}") for name, value in evaluation["metrics"].items()]),
            "",
            "Beside it, on the same rows:",
            "",
            *_table(
                ("rival", "AUC-ROC", "average precision", "gain over it in average precision"),
                _reference_rows(evaluation),
            ),
            "",
            *_graph_adds(evaluation),
            "",
            "## Slices",
            "",
            *_table(("slice", "rows", "frauds", "AUC-ROC"), _slices(evaluation)),
            "",
            "## Limits",
            "",
            "- It ranks transactions of this schema. Its explanations are of scores, not of people.",
            "- It needs history, states and counters of each entity; without them it knows little but the row.",
            "- Probabilities are those of the training period; the calibration plot says how well they hold.",
            "- A slice with few frauds says little: its figures swing from one night to the next.",
            "",
        ]
    )


def _delay(data: Mapping[str, Any]) -> str:
    return f"{data['config']['label_delay_days']:g} days"


def _labels(data: Mapping[str, Any]) -> list[str]:
    labels = data["labels"]
    told = f"{labels['labels_corrected']:,} labels were corrected by a later report or delivery"
    if labels["reported"]:
        told += f"; {labels['reported']:,} transactions were reported, {labels['waiting']:,} reports wait for theirs"
    if labels["delay_median_days"] is not None:
        told += f"; half of the frauds were reported within {labels['delay_median_days']:.3g} days, nine of ten within "
        told += f"{labels['delay_p90_days']:.3g}"
    return [f"{told}.", "", *(f"**Warning:** {warning}.\n" for warning in data["warnings"])]


def _parts(data: Mapping[str, Any]) -> list[Sequence[Any]]:
    return [(name, f"{part['rows']:,}", f"{part['frauds']:,}") for name, part in data["splits"].items()]


def _reference_rows(evaluation: Mapping[str, Any]) -> Iterable[Sequence[Any]]:
    scored = {role: evaluation[role] for role in ("champion", "anchor") if evaluation[role]}
    for role, other in scored.items():
        metrics = other.get("metrics")
        told = (*_ranking(metrics), _gain(other)) if metrics else ("not scored", other["error"], "")
        yield (f"{role} {other['version']}", *told)
    for name, rival in evaluation["rivals"].items():
        yield (f"{name}, {rival['rounds']} rounds", *_ranking(rival["metrics"]), _gain(rival))


def _gain(other: Mapping[str, Any]) -> str:
    """The paired difference with its two one-sided 95 % bounds."""
    gained = other["difference"]["average_precision"]
    return f"{gained['mean']:+.4f} [{gained['low']:+.4f}, {gained['high']:+.4f}]"


def _graph_adds(evaluation: Mapping[str, Any]) -> list[str]:
    adds = evaluation["graph_adds"]
    if adds is None:
        return []
    proven = f"The model is better than its strongest rival, {adds['rival']}, on these rows."
    return [adds["recommendation"] or proven, ""]


def _ranking(metrics: Mapping[str, float]) -> tuple[str, str]:
    return f"{metrics['auc_roc']:.4f}", f"{metrics['average_precision']:.4f}"


def _slices(evaluation: Mapping[str, Any]) -> list[Sequence[Any]]:
    return [
        (piece["name"], f"{piece['rows']:,}", piece["frauds"], f"{piece['auc_roc']:.4f}")
        for piece in evaluation["slices"]
        if piece["auc_roc"] is not None
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    table_rows = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in table_rows]
