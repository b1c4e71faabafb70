"""Decommissions SageMaker: exports its history to Parquet, archives its resources, and only then removes them.

An index in S3 (`sagemaker/ledger.json` in the artifacts bucket) records what was done. So each step can be repeated and
continues where it stopped. A resource is removed only if its current description was archived.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from statemachine.contracts.errors import OperationRefused, Unreachable

Call = Callable[[Any], Iterator[Mapping[str, Any]]]
ARCHIVE_INDEX = "sagemaker/ledger.json"


@dataclass(frozen=True)
class ResourceKind:
    """A kind of SageMaker resource: its list, describe and delete calls; `name` is the field with its name."""

    title: str
    listing: str
    field: str
    name: str
    describe: str
    remove: str
    parameter: str


# In the order of removal: a resource comes before those that it uses.
KINDS = (
    ResourceKind(
        "endpoint",
        "list_endpoints",
        "Endpoints",
        "EndpointName",
        "describe_endpoint",
        "delete_endpoint",
        "EndpointName",
    ),
    ResourceKind(
        "endpoint-config",
        "list_endpoint_configs",
        "EndpointConfigs",
        "EndpointConfigName",
        "describe_endpoint_config",
        "delete_endpoint_config",
        "EndpointConfigName",
    ),
    ResourceKind("model", "list_models", "Models", "ModelName", "describe_model", "delete_model", "ModelName"),
    ResourceKind(
        "pipeline",
        "list_pipelines",
        "PipelineSummaries",
        "PipelineName",
        "describe_pipeline",
        "delete_pipeline",
        "PipelineName",
    ),
    ResourceKind(
        "notebook",
        "list_notebook_instances",
        "NotebookInstances",
        "NotebookInstanceName",
        "describe_notebook_instance",
        "delete_notebook_instance",
        "NotebookInstanceName",
    ),
)


@dataclass(frozen=True)
class Resource:
    """One resource and its description, which is what is archived."""

    kind: str
    name: str
    description: str

    @property
    def key(self) -> str:
        """Its name in the index."""
        return f"{self.kind}/{self.name}"

    @property
    def sha256(self) -> str:
        """Digest of its description: a resource that has changed since is not archived."""
        return hashlib.sha256(self.description.encode()).hexdigest()


@dataclass(frozen=True)
class SageMakerExit:
    """The three steps. `match` limits them to names that contain it."""

    client: Any
    s3: Any
    bucket: str
    match: str = ""

    def history(self) -> list[dict[str, Any]]:
        """Yield every training job as a row: name, times, seconds, instance, status, image, metrics and
        hyperparameters.
        """
        names = (job["TrainingJobName"] for job in self._pages("list_training_jobs", "TrainingJobSummaries"))
        return [_row(self._call("describe_training_job", TrainingJobName=name)) for name in names if self.match in name]

    def export_history(self, key: str = "sagemaker/history.parquet") -> tuple[str, int]:
        """Write the history as Parquet to the artifacts bucket. Returns its URI and number of rows."""
        import polars as pl

        rows, body = self.history(), io.BytesIO()
        pl.DataFrame(rows, schema=COLUMNS).write_parquet(body)
        self._put(key, body.getvalue())
        self._note({"history": {"rows": len(rows), "uri": f"s3://{self.bucket}/{key}"}})
        return f"s3://{self.bucket}/{key}", len(rows)

    def found(self) -> list[Resource]:
        """Yield all resources to remove, in the order of removal."""
        return [
            Resource(kind.title, str(each[kind.name]), self._described(kind, str(each[kind.name])))
            for kind in KINDS
            for each in self._pages(kind.listing, kind.field)
            if self.match in str(each[kind.name])
        ]

    def archive(self) -> list[Resource]:
        """Write each resource's description to S3 and return the newly archived ones."""
        done, new = self.store().get("archived", {}), []
        for resource in self.found():
            if done.get(resource.key) != resource.sha256:
                self._put(f"sagemaker/archive/{resource.key}.json", resource.description.encode())
                done = {**done, resource.key: resource.sha256}
                self._note({"archived": done})
                new.append(resource)
        return new

    def unarchived(self) -> list[Resource]:
        """Return the resources that are not archived as they are now."""
        archived = self.store().get("archived", {})
        return [resource for resource in self.found() if archived.get(resource.key) != resource.sha256]

    def remove(self, resource: Resource) -> None:
        """Remove one resource. Raises `OperationRefused` unless its current description was archived."""
        if self.store().get("archived", {}).get(resource.key) != resource.sha256:
            raise OperationRefused(f"{resource.key} is not archived as it is now; `fraudloop sagemaker archive` first")
        [kind] = [kind for kind in KINDS if kind.title == resource.kind]
        self._call(kind.remove, **{kind.parameter: resource.name})
        self._note({"removed": sorted({*self.store().get("removed", ()), resource.key})})

    def store(self) -> dict[str, Any]:
        """Return the index."""
        try:
            body = self.s3.get_object(Bucket=self.bucket, Key=ARCHIVE_INDEX)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return {}
            raise Unreachable(f"S3: {error}") from error
        return dict(json.loads(body))

    def _note(self, change: Mapping[str, Any]) -> None:
        self._put(ARCHIVE_INDEX, json.dumps({**self.store(), **change}, indent=1, sort_keys=True).encode())

    def _put(self, key: str, body: bytes) -> None:
        try:
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)
        except (ClientError, BotoCoreError) as error:
            raise Unreachable(f"S3: {error}") from error

    def _described(self, kind: ResourceKind, name: str) -> str:
        answer = self._call(kind.describe, **{kind.parameter: name})
        description = {field: value for field, value in answer.items() if field != "ResponseMetadata"}
        return json.dumps(description, default=str, indent=1, sort_keys=True)

    def _pages(self, operation: str, field: str) -> Iterator[Mapping[str, Any]]:
        token: dict[str, str] = {}
        while True:
            answer = self._call(operation, **token)
            yield from answer[field]
            if not answer.get("NextToken"):
                return
            token = {"NextToken": answer["NextToken"]}

    def _call(self, operation: str, **arguments: Any) -> Mapping[str, Any]:
        try:
            answer: Mapping[str, Any] = getattr(self.client, operation)(**arguments)
        except (ClientError, BotoCoreError) as error:
            raise Unreachable(f"SageMaker {operation}: {error}") from error
        return answer


COLUMNS = {
    "name": str,
    "arn": str,
    "status": str,
    "created_at": str,
    "seconds": float,
    "billable_seconds": float,
    "instance_type": str,
    "instance_count": int,
    "image": str,
    "metrics": str,
    "hyperparameters": str,
    "output": str,
}


def _row(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return one training job as a row; a job that has not ended has no seconds."""
    begun, ended = job.get("TrainingStartTime"), job.get("TrainingEndTime")
    seconds = (ended - begun).total_seconds() if begun and ended else None
    metrics = {metric["MetricName"]: metric["Value"] for metric in job.get("FinalMetricDataList", ())}
    resources = job["ResourceConfig"]
    return {
        "name": job["TrainingJobName"],
        "arn": job["TrainingJobArn"],
        "status": job["TrainingJobStatus"],
        "created_at": job["CreationTime"].isoformat(),
        "seconds": seconds,
        "billable_seconds": float(job["BillableTimeInSeconds"]) if "BillableTimeInSeconds" in job else seconds,
        "instance_type": resources.get("InstanceType", ""),
        "instance_count": int(resources.get("InstanceCount", 1)),
        "image": job["AlgorithmSpecification"].get("TrainingImage", ""),
        "metrics": json.dumps(metrics, sort_keys=True),
        "hyperparameters": json.dumps(job.get("HyperParameters", {}), sort_keys=True),
        "output": job.get("ModelArtifacts", {}).get("S3ModelArtifacts", ""),
    }
