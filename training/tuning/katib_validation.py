"""Applies the rules of Katib's admission webhook before anything is sent.

The Experiment's CRD is schemaless. `kubectl --dry-run=client` accepts a wrong manifest, which the webhook
(`pkg/webhook/v1beta1/experiment/validator`) then refuses, or the algorithm's service fails.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from statemachine.contracts.errors import Misconfigured

LONGEST_NAME = 40
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
# The algorithms in katib-config; `bayesian` is not among them.
ALGORITHMS = frozenset(
    "random grid tpe multivariate-tpe hyperband bayesianoptimization cmaes sobol pbt enas darts".split()  # noqa: SIM905
)
COLLECTORS = frozenset(("StdOut", "File", "TensorFlowEvent", "PrometheusMetric", "Custom", "Push", "None"))
PLACEHOLDER = re.compile(r"\$\{trialParameters\.([^}]+)\}")
META = re.compile(r"\$\{trialSpec\.(Name|Namespace|Kind|APIVersion|(Annotations|Labels)\[[^]]+\])\}")

Manifest = Mapping[str, Any]


def admit(manifest: Manifest) -> None:
    """Raise `Misconfigured` with all the reasons for which Katib would refuse it."""
    problems = list(refusals(manifest))
    if problems:
        raise Misconfigured("Katib would refuse this Experiment: " + "; ".join(problems))


def refusals(manifest: Manifest) -> Iterator[str]:
    """Yield each reason, in the order of the manifest."""
    name = manifest.get("metadata", {}).get("name", "")
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        yield f"metadata.name {name!r} must match {NAME.pattern} and have at most {LONGEST_NAME} characters"
    spec = manifest.get("spec", {})
    yield from _counts(spec)
    yield from _objective(spec.get("objective"))
    yield from _algorithm(spec)
    yield from _parameters(spec)
    yield from _collector(spec.get("metricsCollectorSpec", {}))
    yield from _template(spec.get("trialTemplate"), {p.get("name") for p in spec.get("parameters", ())})


def _counts(spec: Manifest) -> Iterator[str]:
    parallel, most, failed = (spec.get(k) for k in ("parallelTrialCount", "maxTrialCount", "maxFailedTrialCount"))
    if parallel is not None and parallel <= 0:
        yield f"parallelTrialCount {parallel} must be greater than 0"
    if most is not None and most <= 0:
        yield f"maxTrialCount {most} must be greater than 0"
    if failed is not None and failed < 0:
        yield f"maxFailedTrialCount {failed} must not be less than 0"
    if most is not None and failed is not None and failed > most:
        yield f"maxFailedTrialCount {failed} is more than maxTrialCount {most}"
    if most is not None and parallel is not None and parallel > most:
        yield f"parallelTrialCount {parallel} is more than maxTrialCount {most}"


def _objective(objective: Manifest | None) -> Iterator[str]:
    if objective is None:
        yield "objective is missing"
        return
    if objective.get("type") not in ("maximize", "minimize"):
        yield f"objective.type {objective.get('type')!r} must be maximize or minimize"
    metric = objective.get("objectiveMetricName", "")
    if not metric:
        yield "objective.objectiveMetricName is missing"
    if metric in objective.get("additionalMetricNames", ()):
        yield f"objective.additionalMetricNames repeats {metric}"


def _algorithm(spec: Manifest) -> Iterator[str]:
    name = spec.get("algorithm", {}).get("algorithmName", "")
    if name not in ALGORITHMS:
        hint = "; Katib calls it bayesianoptimization" if name == "bayesian" else ""
        yield f"algorithm.algorithmName {name!r} is unknown{hint}"
    bayesian = name == "bayesianoptimization"
    for parameter in spec.get("parameters", ()):
        space, double = parameter.get("feasibleSpace", {}), parameter.get("parameterType") == "double"
        if bayesian and "step" in space:
            yield f"{parameter.get('name')}: bayesianoptimization ignores step; tpe keeps it"
        # bayesianoptimization treats every double as log-uniform
        if (space.get("distribution") == "logUniform" or (bayesian and double)) and not _number(space.get("min")) > 0:
            yield f"{parameter.get('name')}: a logarithmic range begins above 0, not at {space.get('min')!r}"


def _parameters(spec: Manifest) -> Iterator[str]:
    parameters: Sequence[Manifest] = spec.get("parameters", ())
    if not parameters:
        yield "parameters is empty"
    names = [str(parameter.get("name", "")) for parameter in parameters]
    yield from (f"parameters names {name!r} twice" for name in sorted({n for n in names if names.count(n) > 1}))
    for parameter in parameters:
        yield from (f"parameters.{parameter.get('name')}: {problem}" for problem in _parameter(parameter))


def _parameter(parameter: Manifest) -> Iterator[str]:
    kind, space = parameter.get("parameterType"), parameter.get("feasibleSpace") or {}
    if not space:
        yield "feasibleSpace is missing"
    yield from (f"feasibleSpace.{k} is {v!r}; it must be text" for k, v in space.items() if not _textual(v))
    match kind:
        case "double" | "int":
            if "list" in space:
                yield f"feasibleSpace.list is not for {kind}"
            if not space.get("min") or not space.get("max"):
                yield "feasibleSpace needs min and max"
            elif not _number(space["min"]) <= _number(space["max"]):
                yield f"min {space['min']} is more than max {space['max']}"
        case "categorical" | "discrete":
            if {"min", "max", "step"} & set(space):
                yield f"feasibleSpace.min, max and step are not for {kind}"
            if not space.get("list"):
                yield "feasibleSpace.list is empty"
        case _:
            yield f"parameterType {kind!r} must be double, int, categorical or discrete"


def _collector(spec: Manifest) -> Iterator[str]:
    kind = spec.get("collector", {}).get("kind", "StdOut")
    if kind not in COLLECTORS:
        yield f"metricsCollectorSpec.collector.kind {kind!r} is unknown"


def _template(template: Manifest | None, searched: set[Any]) -> Iterator[str]:
    if template is None:
        yield "trialTemplate is missing"
        return
    if not template.get("primaryContainerName"):
        yield "trialTemplate.primaryContainerName is missing"
    if ("trialSpec" in template) == ("configMap" in template):
        yield "trialTemplate needs either trialSpec or configMap"
    yield from _placeholders(template, searched)
    job = template.get("trialSpec") or {}
    for field in ("apiVersion", "kind"):
        if not job.get(field):
            yield f"trialTemplate.trialSpec.{field} is missing"
    for field in ("name", "namespace"):
        if field in job.get("metadata", {}):
            yield f"trialTemplate.trialSpec.metadata.{field} must be left out: Katib sets it"
    yield from _primary_container(template, job)


def _placeholders(template: Manifest, searched: set[Any]) -> Iterator[str]:
    declared: Sequence[Manifest] = template.get("trialParameters", ())
    if not declared:
        yield "trialTemplate.trialParameters is missing"
    names = [parameter.get("name", "") for parameter in declared]
    yield from (
        f"trialTemplate.trialParameters names {n!r} twice" for n in sorted({n for n in names if names.count(n) > 1})
    )
    for parameter in declared:
        reference = parameter.get("reference", "")
        if reference not in searched and not META.fullmatch(reference):
            yield f"trialParameters.{parameter.get('name')}: reference {reference!r} is not among the parameters"
    used = set(PLACEHOLDER.findall(str(template.get("trialSpec", ""))))
    if missing := sorted(set(names) - used):
        yield f"trialParameters {', '.join(missing)} are not used in trialSpec"
    if unknown := sorted(used - set(names)):
        yield f"trialSpec uses {', '.join(unknown)}, which trialParameters does not name"


def _primary_container(template: Manifest, job: Manifest) -> Iterator[str]:
    pod = job.get("spec", {}).get("template", {}).get("spec", {})
    names = [container.get("name") for container in pod.get("containers", ())]
    if template.get("primaryContainerName") not in names:
        yield f"primaryContainerName {template.get('primaryContainerName')!r} is none of {names}"


def _textual(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return float("nan")
