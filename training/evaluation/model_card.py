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
            "## Measured on later data, at natural prevalence",
            "",
            *_table(("metric", "value"), [(name, f"{value:.4g}") for name, value in evaluation["metrics"].items()]),
            "",
            "Beside it, on the same rows:",
            "",
            *_table(("rival", "AUC-ROC", "average precision"), _reference_rows(evaluation)),
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


def _parts(data: Mapping[str, Any]) -> list[Sequence[Any]]:
    return [(name, f"{part['rows']:,}", f"{part['frauds']:,}") for name, part in data["splits"].items()]


def _reference_rows(evaluation: Mapping[str, Any]) -> Iterable[Sequence[Any]]:
    scored = {role: evaluation[role] for role in ("champion", "anchor") if evaluation[role]}
    for role, other in scored.items():
        metrics = other.get("metrics")
        yield (f"{role} {other['version']}", *(_ranking(metrics) if metrics else ("not scored", other["error"])))
    for name, metrics in evaluation["baselines"].items():
        yield (name, *_ranking(metrics))


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
