"""The preprocess stage with its per-object work fanned out by KFP. Off unless `fan_out` in pipelines.toml is above 1.

`dsl.ParallelFor` runs the shares side by side, each in a pod of its own. The stage's own step follows whether they
succeeded or not: it converts what it does not find in the cache, and it alone reports.
"""

# KFP reads a pipeline's signature, so it cannot have our types.
# mypy: disable-error-code="type-arg, no-untyped-def, untyped-decorator"

from collections.abc import Callable
from typing import Any

from kfp import dsl

Step = Callable[..., dsl.PipelineTask]


def preprocess_pipeline(convert: Step, preprocess: Step, shares: int) -> Any:
    """Returns the pipeline `fraudloop-preprocess` with `shares` shares; its parameters are those of any stage."""

    @dsl.pipeline(name="fraudloop-preprocess", description="The preprocess stage of a fraudloop run, fanned out.")
    def fanned_out(
        run_id: str, model: str, attempt: int, launch_id: str, output_uri: str, inputs: dict, parameters: dict
    ):
        common = {
            "run_id": run_id, "model": model, "attempt": attempt, "launch_id": launch_id, "output_uri": output_uri,
            "inputs": inputs, "parameters": parameters,
        }  # fmt: skip
        with dsl.ParallelFor(list(range(shares)), name="shares", parallelism=shares) as share:
            converted = convert(**common, share=share, of=shares)
        preprocess(**common).after(converted).ignore_upstream_failure()

    return fanned_out
