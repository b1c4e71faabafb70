"""SageMaker as the engine of the train stage: one training job an attempt, with the image and settings of the KFP step.

A job's name is unique for ever in an account, which others may share: it ends in a hash of the launch id, so it meets
nobody else's. A create that is repeated for the same launch meets `ResourceInUse` and finds the first. The container
gets the order as hyper-parameters, writes `started.json` and `report.json` like any other stage, and never learns which
engine runs it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from statemachine.contracts.errors import Impossible, Misconfigured, Unreachable
from statemachine.contracts.kfp_run import KfpRun, KfpRunState, PinnedVersion
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.contracts.tables import read_table
from statemachine.ports import PinnedVersions, Pipelines

ENTRYPOINT = ("python", "-m", "training.runtime.sagemaker_job")
LONGEST_NAME, LONGEST_VALUE = 63, 2500
STATES = {
    "InProgress": KfpRunState.RUNNING,
    "Completed": KfpRunState.SUCCEEDED,
    "Failed": KfpRunState.FAILED,
    "Stopping": KfpRunState.CANCELING,
    "Stopped": KfpRunState.CANCELED,
}
REFUSALS = {"ValidationException": Impossible, "AccessDeniedException": Misconfigured}
METRICS = ("val_auc_roc", "val_average_precision")


@dataclass(frozen=True)
class Jobs:
    """What a training job is given beside its order; `FRAUDLOOP_SAGEMAKER` holds these as JSON."""

    role_arn: str
    image: str
    instance_type: str = "ml.g4dn.xlarge"
    volume_gb: int = 50
    max_seconds: int = 14_400
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> "Jobs":
        """The jobs that `table` describes. Raises `Misconfigured`: a name is unknown, or role or image is missing."""
        return read_table(cls, table, "FRAUDLOOP_SAGEMAKER")


@dataclass(frozen=True)
class SageMakerTraining:
    """`Pipelines` on training jobs, for the train stage. Ids are the jobs' ARNs."""

    client: Any
    jobs: Jobs

    def get(self, kfp_id: str) -> KfpRun | None:
        """One job, by its ARN."""
        job = self._describe(kfp_id.rsplit("/", 1)[-1])
        return _kfp_run(job) if job else None

    def list(self, prefix: str, since: float = 0.0) -> tuple[KfpRun, ...]:
        """The jobs whose order's name begins with `prefix`, made at `since` or later."""
        found = (self._describe(name) for name in self._names(_clean(prefix.rstrip(".")), since))
        kfp_runs = [_kfp_run(job) for job in found if job]
        return tuple(kfp_run for kfp_run in kfp_runs if kfp_run.name.startswith(prefix))

    def create(self, order: StageRequest, pin: PinnedVersion) -> KfpRun:
        """Begin the launch's job, or find it if it has begun."""
        name = job_name(order)
        try:
            arn = self.client.create_training_job(TrainingJobName=name, **self._request(order))["TrainingJobArn"]
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ResourceInUse" and (job := self._describe(name)):
                return _kfp_run(job)
            kind = REFUSALS.get(code, Unreachable)
            raise kind(f"SageMaker CreateTrainingJob: {error}") from error
        except BotoCoreError as error:
            raise Unreachable(f"SageMaker CreateTrainingJob: {error}") from error
        return KfpRun(str(arn), order.name, order.launch_id, KfpRunState.PENDING)

    def stop(self, kfp_id: str) -> None:
        """Ask it to end. A job that is over or gone answers ValidationException, which is no error here."""
        try:
            self.client.stop_training_job(TrainingJobName=kfp_id.rsplit("/", 1)[-1])
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationException":
                raise Unreachable(f"SageMaker StopTrainingJob: {error}") from error
        except BotoCoreError as error:
            raise Unreachable(f"SageMaker StopTrainingJob: {error}") from error

    def pins(self, stages: Iterable[Stage]) -> PinnedVersions:
        """A job's version is its image."""
        pin = PinnedVersion("sagemaker", self.jobs.image, self.jobs.image)
        return PinnedVersions({stage.value: pin for stage in stages if stage is Stage.TRAIN})

    def _request(self, order: StageRequest) -> dict[str, Any]:
        jobs = self.jobs
        request: dict[str, Any] = {
            "AlgorithmSpecification": {
                "TrainingImage": jobs.image,
                "TrainingInputMode": "File",
                "ContainerEntrypoint": list(ENTRYPOINT),
                "MetricDefinitions": [{"Name": name, "Regex": rf"{name}=([0-9.eE+-]+)"} for name in METRICS],
            },
            "RoleArn": jobs.role_arn,
            "OutputDataConfig": {"S3OutputPath": f"{order.output_uri}/sagemaker"},
            "ResourceConfig": {
                "InstanceType": jobs.instance_type,
                "InstanceCount": 1,
                "VolumeSizeInGB": jobs.volume_gb,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": jobs.max_seconds},
            "HyperParameters": hyperparameters(order),
            "Environment": dict(jobs.environment),
            "Tags": [{"Key": "fraudloop:run", "Value": order.run_id}, {"Key": "fraudloop:model", "Value": order.model}],
        }
        if jobs.subnets:
            request["VpcConfig"] = {"Subnets": list(jobs.subnets), "SecurityGroupIds": list(jobs.security_groups)}
        return request

    def _names(self, contained: str, since: float) -> Iterator[str]:
        pages = self.client.get_paginator("list_training_jobs")
        after = {"CreationTimeAfter": datetime.fromtimestamp(since, UTC)} if since > 0 else {}
        try:
            for page in pages.paginate(NameContains=contained, **after):
                yield from (str(job["TrainingJobName"]) for job in page["TrainingJobSummaries"])
        except (ClientError, BotoCoreError) as error:
            raise Unreachable(f"SageMaker ListTrainingJobs: {error}") from error

    def _describe(self, name: str) -> Mapping[str, Any] | None:
        try:
            job: Mapping[str, Any] = self.client.describe_training_job(TrainingJobName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationException":  # SageMaker's way to say 404
                return None
            raise Unreachable(f"SageMaker DescribeTrainingJob: {error}") from error
        except BotoCoreError as error:
            raise Unreachable(f"SageMaker DescribeTrainingJob: {error}") from error
        return job


@dataclass(frozen=True)
class Engines:
    """`Pipelines` that keeps the train stage of some models on SageMaker and everything else on KFP."""

    kfp: Pipelines
    sagemaker: Pipelines
    models: frozenset[str]

    def get(self, kfp_id: str) -> KfpRun | None:
        """By whom it belongs to: SageMaker's ids are ARNs."""
        return self._owner(kfp_id).get(kfp_id)

    def list(self, prefix: str, since: float = 0.0) -> tuple[KfpRun, ...]:
        """What either engine has, so that a model which changed its engine leaves nothing unseen."""
        return (*self.kfp.list(prefix, since), *self.sagemaker.list(prefix, since))

    def create(self, order: StageRequest, pin: PinnedVersion) -> KfpRun:
        """On the engine of the order's model and stage."""
        here = order.stage is Stage.TRAIN and order.model in self.models
        return (self.sagemaker if here else self.kfp).create(order, pin)

    def stop(self, kfp_id: str) -> None:
        """On the engine that it runs on."""
        self._owner(kfp_id).stop(kfp_id)

    def pins(self, stages: Iterable[Stage]) -> PinnedVersions:
        """KFP's, for every stage: a run may go back to KFP between two attempts."""
        return self.kfp.pins(stages)

    def _owner(self, kfp_id: str) -> Pipelines:
        return self.sagemaker if kfp_id.startswith("arn:") else self.kfp


def job_name(order: StageRequest) -> str:
    """SageMaker's form of `<run>.<stage>.<attempt>`: dashes, at most 63 characters, a hash of name and launch id."""
    mark = hashlib.sha256(f"{order.name} {order.launch_id}".encode()).hexdigest()[:12]
    return f"{_clean(order.name)[: LONGEST_NAME - len(mark) - 1].rstrip('-')}-{mark}"


def hyperparameters(order: StageRequest) -> dict[str, str]:
    """The order as SageMaker's text values. Raises `Misconfigured` where one is longer than SageMaker takes."""
    values = {**order.arguments(), "stage": order.stage.value}
    parameters = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    for name, value in parameters.items():
        if len(value) > LONGEST_VALUE:
            raise Misconfigured(f"{order.name}: {name} has {len(value)} characters, SageMaker takes {LONGEST_VALUE}")
    return parameters


def _clean(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9-]+", "-", name).strip("-")


def _kfp_run(job: Mapping[str, Any]) -> KfpRun:
    parameters = job.get("HyperParameters", {})
    name = ".".join(parameters.get(part, "") for part in ("run_id", "stage", "attempt"))
    return KfpRun(
        kfp_id=str(job["TrainingJobArn"]),
        name=name,
        launch_id=parameters.get("launch_id", ""),
        state=STATES.get(str(job["TrainingJobStatus"]), KfpRunState.UNKNOWN),
        created_at=job["CreationTime"].timestamp(),
        error=str(job.get("FailureReason", "")),
    )
