"""Kubeflow Pipelines through `kfp_server_api`, every call with a timeout.

`kfp.Client` has no timeouts and asks for health in its constructor, hence the generated client. A display name is not
unique, so runs are listed by name and told apart by the `launch_id` that each CreateRun carries.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

import kfp_server_api as kfp
import urllib3

from statemachine.contracts.errors import Misconfigured, Unreachable
from statemachine.contracts.kfp_run import KfpRun, KfpRunState, PinnedVersion
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.ports import PinnedVersions

TIMEOUT = (3.05, 10.0)  # seconds: to connect, to read
PAGE = 200  # the most that KFP lists at once
GONE, CONFLICT, BAD_REQUEST, FAILED_PRECONDITION = 404, 409, 400, 412


class Token(Protocol):
    """Where the bearer token comes from; `fresh` asks for it to be read again after a 401."""

    def __call__(self, *, fresh: bool = False) -> str: ...


def no_token(*, fresh: bool = False) -> str:
    """Standalone KFP behind an internal load balancer needs none."""
    return ""


@dataclass(frozen=True)
class KfpPipelines:
    """`Pipelines` on one KFP API server and one experiment. `definitions` are content hashes by pipeline name."""

    url: str
    experiment: str
    definitions: Mapping[str, str]
    namespace: str = ""
    service_account: str = ""
    token: Token = no_token
    ca: str = ""  # a PEM file, for a KFP whose certificate no public CA has signed
    known: dict[str, str] = field(default_factory=dict, compare=False)

    @cached_property
    def _client(self) -> kfp.ApiClient:
        configuration = kfp.Configuration(host=self.url.rstrip("/"))
        configuration.ssl_ca_cert = self.ca or None
        configuration.retries = urllib3.Retry(0)  # we retry by ourselves, after having looked
        return kfp.ApiClient(configuration)

    def get(self, kfp_id: str) -> KfpRun | None:
        """One run, by id."""
        run = self._call(kfp.RunServiceApi(self._client).run_service_get_run, kfp_id, absent=(GONE,))
        return _kfp_run(run) if run is not None else None

    def list(self, prefix: str) -> tuple[KfpRun, ...]:
        """All runs of the experiment whose display name begins with `prefix`."""
        api, found, page = kfp.RunServiceApi(self._client), [], ""
        experiment = self._experiment_id()
        while True:
            answer = self._call(
                api.run_service_list_runs,
                experiment_id=experiment,
                page_size=PAGE,
                page_token=page,
                filter=_predicate("IS_SUBSTRING", "display_name", prefix),
            )
            found += [_kfp_run(run) for run in answer.runs or () if str(run.display_name).startswith(prefix)]
            page = answer.next_page_token or ""
            if not page:
                return tuple(found)

    def create(self, order: StageRequest, pin: PinnedVersion) -> KfpRun:
        """Launch the pinned pipeline version with this order's arguments."""
        run = kfp.V2beta1Run(
            display_name=order.name,
            experiment_id=self._experiment_id(),
            pipeline_version_reference=kfp.V2beta1PipelineVersionReference(
                pipeline_id=pin.pipeline_id, pipeline_version_id=pin.version_id
            ),
            runtime_config=kfp.V2beta1RuntimeConfig(parameters=order.arguments()),
            service_account=self.service_account or None,
        )
        return _kfp_run(self._call(kfp.RunServiceApi(self._client).run_service_create_run, run))

    def stop(self, kfp_id: str) -> None:
        """Terminate it. One that is over, being cancelled, or gone is no error."""
        over = (GONE, CONFLICT, BAD_REQUEST, FAILED_PRECONDITION)
        self._call(kfp.RunServiceApi(self._client).run_service_terminate_run, kfp_id, absent=over)

    def pins(self, stages: Iterable[Stage]) -> PinnedVersions:
        """The ids of the pipeline versions named by this deployment's content hashes."""
        found, missing = {}, []
        for stage in stages:
            name = f"fraudloop-{stage.value}"
            pin = self._pin(name, self.definitions.get(name, ""))
            if pin is None:
                missing.append(f"{name}@{self.definitions.get(name, '?')[:12]}")
            else:
                found[stage.value] = pin
        said = f"not published: {', '.join(missing)}; run `fraudloop publish`" if missing else ""
        return PinnedVersions(found, said)

    # -- inside -------------------------------------------------------------------------------------------------

    def _pin(self, name: str, version: str) -> PinnedVersion | None:
        if not version:
            return None
        api = kfp.PipelineServiceApi(self._client)
        pipeline = self._call(api.pipeline_service_get_pipeline_by_name, name, **self._namespace(), absent=(GONE,))
        if pipeline is None:
            return None
        listing = self._call(
            api.pipeline_service_list_pipeline_versions,
            pipeline.pipeline_id,
            page_size=PAGE,
            filter=_predicate("EQUALS", "display_name", version),
        )
        for found in listing.pipeline_versions or ():
            if found.display_name == version:
                return PinnedVersion(pipeline.pipeline_id, found.pipeline_version_id, version)
        return None

    def _experiment_id(self) -> str:
        if self.experiment not in self.known:
            self.known[self.experiment] = self._find_experiment() or self._create_experiment()
        return self.known[self.experiment]

    def _find_experiment(self) -> str:
        answer = self._call(
            kfp.ExperimentServiceApi(self._client).experiment_service_list_experiments,
            page_size=PAGE,
            filter=_predicate("EQUALS", "display_name", self.experiment),
            **self._namespace(),
        )
        named = [e for e in answer.experiments or () if e.display_name == self.experiment]
        return str(named[0].experiment_id) if named else ""

    def _create_experiment(self) -> str:
        body = kfp.V2beta1Experiment(display_name=self.experiment, namespace=self.namespace or None)
        made = self._call(kfp.ExperimentServiceApi(self._client).experiment_service_create_experiment, body)
        return str(made.experiment_id)

    def _namespace(self) -> dict[str, Any]:
        return {"namespace": self.namespace} if self.namespace else {}

    def _call(self, operation: Callable[..., Any], *arguments: Any, absent: tuple[int, ...] = (), **named: Any) -> Any:
        """The answer; `None` for a status in `absent`. A 401 reads the token once more."""
        for fresh in (False, True):
            self._authorize(fresh=fresh)
            try:
                answer = operation(*arguments, _request_timeout=TIMEOUT, **named)
                # The generated client takes a body that is not JSON for an empty answer, which would read as "absent".
                json.loads(self._client.last_response.data or "{}")
                return answer
            except kfp.ApiException as error:
                if error.status in absent:
                    return None
                if error.status == 401 and not fresh:
                    continue
                raise Unreachable(f"KFP {operation.__name__}: {error.status} {_message(error)}") from error
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise Unreachable(f"KFP {operation.__name__}: {error}") from error
            except ValueError as error:  # an answer that the generated client cannot read
                raise Unreachable(f"KFP {operation.__name__} gave an answer that cannot be read: {error}") from error
        raise Misconfigured("KFP refuses our token (401), also after reading it again: see FRAUDLOOP_KFP_TOKEN_SECRET")

    def _authorize(self, *, fresh: bool) -> None:
        token = self.token(fresh=fresh)
        if token:
            self._client.default_headers["Authorization"] = f"Bearer {token}"


def _predicate(operation: str, key: str, value: str) -> str:
    return json.dumps({"predicates": [{"operation": operation, "key": key, "stringValue": value}]})


def _kfp_run(run: Any) -> KfpRun:
    parameters = (run.runtime_config.parameters if run.runtime_config else None) or {}
    return KfpRun(
        kfp_id=str(run.run_id),
        name=str(run.display_name),
        launch_id=_text(parameters.get("launch_id", "")),
        state=_state(run.state),
        created_at=run.created_at.timestamp() if isinstance(run.created_at, datetime) else 0.0,
        error=str(run.error.message or "") if run.error else "",
    )


def _text(value: Any) -> str:
    """A parameter, which KFP may give back wrapped (`{"string_value": …}`)."""
    if isinstance(value, Mapping):
        return str(next(iter(value.values()), ""))
    return str(value or "")


def _state(value: Any) -> KfpRunState:
    try:
        return KfpRunState(str(getattr(value, "value", value)))
    except ValueError:
        return KfpRunState.UNKNOWN if value else KfpRunState.PENDING


def _message(error: kfp.ApiException) -> str:
    try:
        return str(json.loads(error.body)["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
