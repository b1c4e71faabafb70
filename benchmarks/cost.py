"""The cost of a run beside the same stages on SageMaker: 10/90/10/3/8 minutes with the pods of pipelines.toml."""

from benchmarks.results import Measurement, measurement
from cli.commands.cost_queries import prices, requests
from statemachine.contracts.stage import Stage
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Run, Transition
from statemachine.core.states import STATE_OF, State
from statemachine.reporting.cost import Cost, StageUse, run_cost
from statemachine.reporting.usage import control_use

MINUTES = {Stage.PREPROCESS: 10, Stage.TRAIN: 90, Stage.EVALUATE: 10, Stage.EXPORT: 3, Stage.SHADOW: 3, Stage.DEPLOY: 8}
PASSES_A_STAGE = 4  # enter, claim and submit, release, and the transition out
RUNS_A_MONTH = 30


def ordinary() -> tuple[Cost, int]:
    """The cost of a nightly run without retries, and the assumed number of writes to its record."""
    arguments = requests()
    uses = [StageUse(stage.value, 60.0 * minutes, arguments[stage.value]) for stage, minutes in MINUTES.items()]
    at, history = 0.0, [Transition("fraud-1", 1, 0.0, "", State.QUEUED.value, TransitionReason.ARRIVAL)]
    for stage, minutes in MINUTES.items():
        at += 60.0 * minutes
        history.append(
            Transition(
                "fraud-1", len(history) + 1, at, STATE_OF[stage].value, State.SUCCEEDED.value, TransitionReason.REPORTED
            )
        )
    run = Run("fraud-1", "fraud", 1, State.SUCCEEDED, version=PASSES_A_STAGE * len(MINUTES))
    return run_cost(uses, control_use(run, history), prices(), RUNS_A_MONTH), run.version


def run() -> list[Measurement]:
    """Marginal and loaded dollars, the controller's share, and SageMaker's cost."""
    cost, versions = ordinary()
    pods = {stage.value for stage in MINUTES} | {"idle nodes"}
    controller = sum(line.dollars for line in cost.lines if line.item not in pods)
    for line in cost.lines:
        print(f"  {line.item:<20} {line.quantity:>12,.1f} {line.unit:<18} ${line.dollars:.6f}")
    print(f"  ({versions} writes to the record, {RUNS_A_MONTH} runs a month, prices as of {prices().as_of})")
    return [
        measurement("cost.run_marginal", cost.marginal, "$", "the same stages on SageMaker", cost.sagemaker),
        measurement("cost.run_loaded", cost.loaded, "$", "the same stages on SageMaker", cost.sagemaker),
        measurement("cost.controller_estimate", controller, "$", "the whole run", cost.marginal),
    ]
