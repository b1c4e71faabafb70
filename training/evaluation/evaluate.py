"""The evaluate stage: measures candidate, champion, anchor and baselines on the same rows. The gate judges."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statemachine.contracts.errors import Misconfigured
from statemachine.contracts.gate import GatePolicy, gate
from statemachine.contracts.stage_request import StageRequest
from statemachine.contracts.tables import read_table
from training import storage
from training.evaluation import baselines, bootstrap, changes, segments, slices, thresholds
from training.evaluation.advice import strongest
from training.evaluation.baselines import TrainedBaseline
from training.evaluation.explained import explained
from training.evaluation.model_card import card
from training.evaluation.reference_models import reference_scores, version_of
from training.evaluation.report_html import ReportPage, page
from training.evaluation.row_slices import Rows
from training.graph.graph import TEST, TRAIN, VALIDATE, load_graph
from training.graph.history import Reader
from training.model import head, metrics
from training.model.config import TrainConfig
from training.model.model import FraudModel, load
from training.model.reading import input_parts
from training.model.seeds import at_most, thinned
from training.model.train import sample
from training.outcome import Permanent, StageResult

FORMAT, CANDIDATE = 1, "candidate"
WITHOUT = (
    "The graph network is not shown to be better than {rival} on these rows: train with groups = {groups}. "
    "That serves faster (docs/model.md says by how much)."
)


@dataclass(frozen=True)
class EvaluateConfig:
    """The stage's settings. `baseline_rounds`: −1 is as many as the head's, 0 omits the baselines; `gate` is the policy
    for the report page.

    `alert_cost` is what it costs to look at an alert, in the data's currency; of a fraud that an alert stops,
    `recovered_share` of the amount is saved.
    """

    draws: int = 1000
    seed: int = 1
    alerts_a_day: int = 100
    alert_cost: float = 5.0
    recovered_share: float = 0.8
    baseline_rounds: int = -1
    gate: Mapping[str, Any] | None = None

    def rounds(self, trained: TrainConfig) -> int:
        """How many boosting rounds a baseline may have."""
        return trained.head_rounds if self.baseline_rounds < 0 else self.baseline_rounds

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "EvaluateConfig":
        """Parse the settings.

        Raises:
            Permanent: an unknown setting, or a value outside of its range.
        """
        try:
            config = read_table(cls, settings, "evaluate")
        except Misconfigured as error:
            raise Permanent(str(error)) from error
        if not config.alert_cost >= 0:
            raise Permanent(f"evaluate: alert_cost is {config.alert_cost!r}; it must be at least 0")
        if not 0 <= config.recovered_share <= 1:
            raise Permanent(f"evaluate: recovered_share is {config.recovered_share!r}; it must be in [0, 1]")
        return config


@dataclass(frozen=True)
class Scored:
    """The test rows with the probabilities [N] of each model; a reference model has an error instead if it failed.

    `amounts` [N] are in the data's currency, `explained` is a handful of the rows with reasons.
    """

    ids: NDArray[np.int64]
    times: NDArray[np.int64]
    labels: NDArray[np.int8]
    candidate: NDArray[np.float32]
    references: Mapping[str, tuple[str, NDArray[np.float32] | str]]
    baselines: Mapping[str, NDArray[np.float32]]
    amounts: NDArray[np.float64]
    explained: Sequence[Mapping[str, Any]] = ()


def evaluate(order: StageRequest) -> StageResult:
    """The work of the evaluate stage (docs/contracts.md)."""
    config = EvaluateConfig.from_dict(order.parameters)
    with tempfile.TemporaryDirectory(prefix="fraudloop-evaluate-") as scratch:
        dataset = storage.local(order.inputs["dataset"], Path(scratch) / "dataset")
        model = load(storage.local(order.inputs["model"], Path(scratch) / "model"))
        references = {role: order.inputs[role] for role in ("champion", "anchor") if order.inputs.get(role)}
        scored = score(model, dataset, references, config)
        evaluation = measured(model, dataset, scored, config)
        evaluation["changes"] = changes.since(references.get("champion"), evaluation["identity"])
        pages = pages_of(order.run_id, model, dataset, evaluation, scored, config)
    outputs = write(order.output_uri, evaluation, pages)
    details = {"evaluation": evaluation}
    return StageResult(
        outputs,
        evaluation["metrics"],
        details,
        html=pages.report,
        roc=metrics.roc_points(scored.labels, scored.candidate),
    )


@dataclass(frozen=True)
class Pages:
    """The pages for people: the HTML report and the model card."""

    report: str
    card: str


def pages_of(
    title: str,
    model: FraudModel,
    dataset: Path,
    evaluation: Mapping[str, Any],
    scored: "Scored",
    config: EvaluateConfig,
) -> Pages:
    """Return the pages about one candidate, with the gate's verdict under the stage's policy."""
    verdict = gate(evaluation, GatePolicy.from_dict(config.gate or {}))
    others = {name: scores for name, (_, scores) in scored.references.items() if not isinstance(scores, str)}
    scores_by_model = {"candidate": scored.candidate} | others | dict(scored.baselines)
    importance = head.importance(model.booster)
    report = ReportPage(title, evaluation, verdict, scored.labels, scores_by_model, importance, model.config.as_dict())
    data = storage.read_json(str(dataset / "dataset.json"))
    return Pages(page(report), card(title, model, evaluation, verdict, data))


def write(folder: str, evaluation: Mapping[str, Any], pages: Pages) -> dict[str, str]:
    """Write evaluation and pages into a folder or under an `s3://` URI. Returns their URIs by the contract's names."""
    outputs = {
        "evaluation": storage.join(folder, "evaluation.json"),
        "report_html": storage.join(folder, "report.html"),
        "model_card": storage.join(folder, "model_card.md"),
    }
    storage.write_json(outputs["evaluation"], evaluation)
    storage.write_bytes(outputs["report_html"], pages.report.encode())
    storage.write_bytes(outputs["model_card"], pages.card.encode())
    return outputs


def score(model: FraudModel, dataset: Path, references: Mapping[str, str], config: EvaluateConfig) -> Scored:
    """Return the probabilities of the test rows by every model."""
    graph = load_graph(dataset, model.row)
    reader = Reader(graph, model.config.k)
    test = graph.where(TEST)
    if not 0 < int((graph.label[test] == 1).sum()) < len(test):
        raise Permanent("the test split needs both frauds and others")
    rivals = _baselines(model, reader, config)
    scores = {name: np.empty(len(test), dtype=np.float32) for name in (CANDIDATE, *rivals)}
    done = 0
    for own, inputs in input_parts(reader, test, model.config, model.encoders):
        at = slice(done, done := done + len(own))
        scores[CANDIDATE][at] = head.predict(model.booster, inputs)
        plain = own.float().numpy() if rivals else inputs
        for name, rival in rivals.items():
            scores[name][at] = rival.score(plain)
    candidate = scores.pop(CANDIDATE)
    ids, labels = test.numpy(), graph.label[test].numpy()
    amounts = graph.cents[test].numpy() / graph.unit
    return Scored(
        ids=ids,
        times=graph.time[test].numpy(),
        labels=labels,
        candidate=candidate,
        amounts=amounts,
        explained=explained(model, reader, ids, labels, candidate, amounts),
        references={role: (version_of(uri), reference_scores(uri, dataset)) for role, uri in references.items()},
        baselines=scores,
    )


def measured(model: FraudModel, dataset: Path, scored: Scored, config: EvaluateConfig) -> dict[str, Any]:
    """Return `details.evaluation` (docs/contracts.md): numbers only, no verdict."""
    labels, scores = scored.labels, scored.candidate
    known = {role: other for role, (_, other) in scored.references.items() if not isinstance(other, str)}
    drawn = bootstrap.resample(labels, [scores, *known.values()], config.draws, config.seed)
    parts = list(_masks(model, dataset, scored))
    rivals = _rivals(scored, model.config, config)
    best = strongest({name: one["metrics"] for name, one in rivals.items()})
    beside = {"champion": known["champion"]} if "champion" in known else {}
    beside |= {best: scored.baselines[best]} if best else {}
    costs = thresholds.Costs(config.alert_cost, config.recovered_share, config.alerts_a_day)
    versus = {role: _versus(labels, known[role], drawn[0], other) for role, other in zip(known, drawn[1:], strict=True)}
    return {
        "format": FORMAT,
        "rows": len(labels),
        "frauds": int((labels == 1).sum()),
        "threshold": model.threshold,
        "metrics": _metrics(scored, model.threshold, config),
        "intervals": {
            "auc_roc": bootstrap.interval(drawn[0].auc_roc),
            "average_precision": bootstrap.interval(drawn[0].average_precision),
        },
        **{role: _reference(scored.references.get(role), versus.get(role)) for role in ("champion", "anchor")},
        "drift": storage.read_json(str(dataset / "profile.json"))["drift"],
        "slices": [slices.metrics(name, inside, labels, scores) for name, inside in parts],
        "segments": segments.beside(parts, labels, scores, beside, config.seed),
        "baselines": {name: one["metrics"] for name, one in rivals.items()},
        "rivals": rivals,
        "graph_adds": graph_adds(model.config.groups, rivals),
        "reliability": metrics.reliability(labels, scores),
        "thresholds": thresholds.choices(labels, scores, scored.times, scored.amounts, model.threshold, costs),
        "explained": list(scored.explained),
        "identity": changes.identity(model, dataset),
        **_labels(dataset),
    }


def _labels(dataset: Path) -> dict[str, Any]:
    """What the data set counted of labels, and its warnings of them."""
    described = storage.read_json(str(dataset / "dataset.json"))
    return {"labels": described.get("labels", {}), "warnings": described.get("warnings", [])}


def _metrics(scored: Scored, threshold: float, config: EvaluateConfig) -> dict[str, float]:
    labels, scores = scored.labels, scored.candidate
    return (
        metrics.ranking(labels, scores)
        | metrics.decision(labels, scores, threshold)
        | metrics.recall_within(labels, scores)
        | metrics.daily_alerts(labels, scores, scored.times, config.alerts_a_day)
        | {"brier": metrics.brier(labels, scores)}
    )


def _versus(
    labels: NDArray[np.int8],
    scores: NDArray[np.float32],
    candidate: bootstrap.Resampled,
    other: bootstrap.Resampled,
) -> dict[str, Any]:
    return {"metrics": metrics.ranking(labels, scores), "difference": bootstrap.differences(candidate, other)}


def _rivals(scored: Scored, trained: TrainConfig, config: EvaluateConfig) -> dict[str, Any]:
    """Each baseline's metrics, the paired difference of the candidate to it, and the boosting rounds that both had."""
    labels, found = scored.labels, {}
    for name, other in scored.baselines.items():
        candidate, drawn = bootstrap.resample(labels, [scored.candidate, other], config.draws, config.seed)
        versus = _versus(labels, other, candidate, drawn)
        found[name] = versus | {"rounds": config.rounds(trained)}
    return found


def graph_adds(groups: Sequence[str], rivals: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """What the graph network adds to average precision over the strongest rival, and what follows from it.

    None where there is no rival, or the model has no graph network.
    """
    if not rivals or "embedding" not in groups:
        return None
    rival = strongest({name: one["metrics"] for name, one in rivals.items()})
    gained = rivals[rival]["difference"]["average_precision"]
    proven = gained["low"] > 0
    return {
        "rival": rival,
        **gained,
        "verdict": "adds" if proven else "not shown",
        "recommendation": None if proven else WITHOUT.format(rival=rival, groups=", ".join(baselines.BASELINES[rival])),
    }


def _reference(reference: tuple[str, Any] | None, versus: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if reference is None:
        return None
    version, scores = reference
    return {"version": version, "error": scores} if versus is None else {"version": version, **versus}


def _masks(model: FraudModel, dataset: Path, scored: Scored) -> Iterator[tuple[str, Rows]]:
    graph = load_graph(dataset, ())
    data = model.feature_schema.data
    return slices.masks(slices.rows(dataset, data), graph, scored.ids, data)


def _baselines(model: FraudModel, reader: Reader, config: EvaluateConfig) -> dict[str, TrainedBaseline]:
    if not config.baseline_rounds:
        return {}
    settings = replace(model.config, groups=baselines.GROUPS, head_rounds=config.rounds(model.config))
    graph = reader.graph
    seeds = thinned(graph, TRAIN, settings.negative_ratio, settings.seed)
    validation_seeds = at_most(graph, VALIDATE, settings.validation_rows, settings.seed)
    train, validation = (sample(reader, part, settings, None) for part in (seeds, validation_seeds))
    return baselines.fitted(train, validation, model.row, settings, model.sides)
