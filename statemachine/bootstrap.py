"""The one place where ports meet adapters."""

import hashlib
import json
import os
import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session, get_session

from statemachine import settings as configuration
from statemachine.adapters.dynamodb import DynamoTable
from statemachine.adapters.s3 import S3Files
from statemachine.adapters.secrets import Secret
from statemachine.adapters.slack import SlackWebhook
from statemachine.adapters.sqs import SqsHints
from statemachine.contracts.errors import Unreachable
from statemachine.core.policy import Policy
from statemachine.intake import Intake
from statemachine.listing import PrefixListing
from statemachine.notifier import Notifier
from statemachine.operations import Operations
from statemachine.ports import Pipelines
from statemachine.reconciler import Reconciler
from statemachine.settings import Settings
from statemachine.store import Store

AWS = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "max_attempts": 3})


def new_id() -> str:
    """Twelve hex digits: a launch, a claim, a write."""
    return uuid.uuid4().hex[:12]


def pause(attempt: int) -> None:
    """Wait a little longer after each conflict, with jitter."""
    time.sleep(random.uniform(0, min(1.0, 0.01 * 2**attempt)))  # noqa: S311 — jitter, no secret


@dataclass(frozen=True)
class App:
    """The wired system; each part is made when first asked for, so a Lambda pays only for what it uses."""

    settings: Settings

    @cached_property
    def session(self) -> Session:
        """One session. botocore's own: `boto3` loads its transfer manager too, a quarter of a Lambda's init."""
        return get_session()

    def client(self, service: str) -> Any:
        """A client with timeouts."""
        return self.session.create_client(service, config=AWS)

    @property
    def policies(self) -> Mapping[str, Policy]:
        """The models."""
        return self.settings.policies

    @cached_property
    def store(self) -> Store:
        """Runs, models, history."""
        return Store(DynamoTable(self.client("dynamodb"), self.settings.table), new_id)

    @cached_property
    def files(self) -> S3Files:
        """Objects in S3."""
        return S3Files(self.client("s3"))

    @cached_property
    def hints(self) -> SqsHints:
        """ "Look at run R"."""
        return SqsHints(self.client("sqs"), self.settings.hints_queue_url)

    @cached_property
    def intake(self) -> Intake:
        """Windows and objects."""
        code = hashlib.sha256(json.dumps(dict(self.settings.definitions), sort_keys=True).encode()).hexdigest()
        return Intake(self.store, self.policies, self.settings.data_bucket, time.time, new_id, pause, code)

    @property
    def listing(self) -> PrefixListing:
        """The nightly listing."""
        return PrefixListing(self.intake, self.files, time.time)

    def again(self, function: str, event: Mapping[str, Any]) -> None:
        """Have the function invoked once more, soon. Raises `Unreachable`."""
        try:
            payload = json.dumps(event).encode()
            self.client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=payload)
        except (BotoCoreError, ClientError) as error:
            raise Unreachable(f"asking {function} to go on: {error}") from error

    @cached_property
    def pipelines(self) -> Pipelines:
        """Kubeflow Pipelines; imported here, since only the step function and the command line need it."""
        from statemachine.adapters.kfp import KfpPipelines

        s = self.settings
        kfp = KfpPipelines(
            url=s.kfp_url,
            experiment=s.kfp_experiment,
            definitions=s.definitions,
            namespace=s.kfp_namespace,
            service_account=s.kfp_service_account,
            token=Secret(s.kfp_token, s.kfp_token_secret, lambda: self.client("secretsmanager")),
            ca=s.kfp_ca,
        )
        models = frozenset(name for name, policy in self.policies.items() if policy.engine == "sagemaker")
        return self._engines(kfp, models) if models else kfp

    def _engines(self, kfp: Pipelines, models: frozenset[str]) -> Pipelines:
        from statemachine.adapters.sagemaker import Engines, Jobs, SageMakerTraining

        jobs = Jobs.from_dict(self.settings.sagemaker)
        return Engines(kfp, SageMakerTraining(self.client("sagemaker"), jobs), models)

    @cached_property
    def reconciler(self) -> Reconciler:
        """The one that steps runs."""
        return Reconciler(
            self.store,
            self.intake,
            self.pipelines,
            self.files,
            self.hints,
            self.policies,
            time.time,
            random.random,
            new_id,
        )

    @cached_property
    def operations(self) -> Operations:
        """What persons may ask."""
        return Operations(self.store, self.intake, self.files, self.hints, self.policies, time.time, new_id)

    @cached_property
    def notifier(self) -> Notifier:
        """Sends notifications and emits metrics from the table's stream."""
        s = self.settings
        webhook = Secret(s.slack_webhook, s.slack_webhook_secret, lambda: self.client("secretsmanager"))
        chat = SlackWebhook(webhook, wanted=bool(s.slack_webhook or s.slack_webhook_secret))
        return Notifier(self.store, chat, time.time, new_id, s.kfp_ui_url, s.prices, s.console_url, s.policies)


def bootstrap(environment: Mapping[str, str] = os.environ) -> App:
    """The system that the environment describes. Raises `Misconfigured`."""
    return App(configuration.read(environment))
