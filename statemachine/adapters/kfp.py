"""Kubeflow Pipelines through `kfp_server_api`, every call with a timeout.

`kfp.Client` has no timeouts and asks for health in its constructor, hence the generated client. A display name is not
unique, so runs are listed by name and distinguished by the `launch_id` that each CreateRun carries.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeVar

import kfp_server_api as kfp
import urllib3

from statemachine.adapters.kfp_answers import (
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    Answered,
    filter_of,
    identity,
    launch_of,
    predicate,
    refusal_of,
    said_of,
    since_of,
)
from statemachine.contracts.errors import Impossible, Misconfigured, Unreachable
from statemachine.contracts.kfp_run import KfpRun, PinnedVersion
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.ports import PinnedVersions

TIMEOUT = (3.05, 10.0)  # seconds: to connect, to read
PAGE = 200  # the most that KFP lists at once
T = TypeVar("T")
NONE: frozenset[int] = frozenset()
ENDING = frozenset({NOT_FOUND, INVALID_ARGUMENT, FAILED_PRECONDITION})  # TerminateRun of a run that is not RUNNING
NEVER = frozenset({INVALID_ARGUMENT, FAILED_PRECONDITION})


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
        run = self._call(kfp.RunServiceApi(self._client).run_service_get_run, kfp_id, absent={NOT_FOUND})
        return launch_of(run) if run is not None else None

    def list(self, prefix: str, since: float = 0.0) -> tuple[KfpRun, ...]:
        """The runs of the experiment whose display name begins with `prefix`, made at `since` or later, newest first.

        Without a bound in time KFP reads the manifest of every run of the experiment.
        """
        return self._with_experiment(lambda experiment: self._list(prefix, since, experiment))

    def _list(self, prefix: str, since: float, experiment: str) -> tuple[KfpRun, ...]:
        api, found, page = kfp.RunServiceApi(self._client), [], ""
        while True:
            answer = self._call(
                api.run_service_list_runs,
                experiment_id=experiment,
                page_size=PAGE,
                page_token=page,
                sort_by="created_at desc",
                filter=filter_of(predicate("IS_SUBSTRING", "display_name", stringValue=prefix), *since_of(since)),
            )
            found += [launch_of(run) for run in answer.runs or () if str(run.display_name).startswith(prefix)]
            page = answer.next_page_token or ""
            if not page:
                return tuple(found)

    def create(self, order: StageRequest, pin: PinnedVersion) -> KfpRun:
        """Launch the pinned pipeline version, by its new id if it was published anew, with this order's arguments."""
        try:
            return self._create(order, pin)
        except Answered as refusal:
            # KFP says 500, not 404, when the version is gone; then it has not come as far as to launch anything.
            if refusal.code == NOT_FOUND or (refusal.code and not self._is_there(pin)):
                return self._create(order, self._published_anew(order, pin))
            if refusal.code in NEVER:
                raise Impossible(str(refusal)) from refusal
            raise

    def _create(self, order: StageRequest, pin: PinnedVersion) -> KfpRun:
        return self._with_experiment(lambda experiment: self._create_in(experiment, order, pin))

    def _create_in(self, experiment: str, order: StageRequest, pin: PinnedVersion) -> KfpRun:
        run = kfp.V2beta1Run(
            display_name=order.name,
            experiment_id=experiment,
            pipeline_version_reference=kfp.V2beta1PipelineVersionReference(
                pipeline_id=pin.pipeline_id, pipeline_version_id=pin.version_id
            ),
            runtime_config=kfp.V2beta1RuntimeConfig(parameters=order.arguments()),
            service_account=self.service_account or None,
        )
        return launch_of(self._call(kfp.RunServiceApi(self._client).run_service_create_run, run))

    def stop(self, kfp_id: str) -> None:
        """Terminate it. One that is over, being cancelled, or gone is no error."""
        self._call(kfp.RunServiceApi(self._client).run_service_terminate_run, kfp_id, absent=ENDING)

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
        problem = f"not published: {', '.join(missing)}; run `fraudloop publish`" if missing else ""
        return PinnedVersions(found, problem)

    # -- inside -------------------------------------------------------------------------------------------------

    def _pin(self, name: str, version: str) -> PinnedVersion | None:
        if not version:
            return None
        api = kfp.PipelineServiceApi(self._client)
        pipeline = self._call(api.pipeline_service_get_pipeline_by_name, name, **self._namespace(), absent={NOT_FOUND})
        if pipeline is None:
            return None
        listing = self._call(
            api.pipeline_service_list_pipeline_versions,
            identity(pipeline.pipeline_id, "a pipeline"),
            page_size=PAGE,
            filter=filter_of(predicate("EQUALS", "display_name", stringValue=version)),
        )
        for found in listing.pipeline_versions or ():
            if found.display_name == version:
                return PinnedVersion(
                    pipeline.pipeline_id, identity(found.pipeline_version_id, "a pipeline version"), version
                )
        return None

    def _is_there(self, pin: PinnedVersion) -> bool:
        api = kfp.PipelineServiceApi(self._client)
        ids = (pin.pipeline_id, pin.version_id)
        return self._call(api.pipeline_service_get_pipeline_version, *ids, absent={NOT_FOUND}) is not None

    def _published_anew(self, order: StageRequest, pin: PinnedVersion) -> PinnedVersion:
        """The version of the same content under its present ids. Raises `Misconfigured` if it is not there any more."""
        name = f"fraudloop-{order.stage.value}"
        found = self._pin(name, pin.version_name)
        if found is None:
            problem = f"{name}@{pin.version_name[:12]}, with which {order.run_id} began, is not in KFP any more"
            raise Misconfigured(f"{problem}; run `fraudloop publish` of that release, or cancel the run")
        return found

    def _with_experiment(self, do: Callable[[str], T]) -> T:
        """Do it in our experiment, whose id is kept; once more if KFP says that what we kept is gone."""
        known = self.known.get(self.experiment)
        try:
            return do(self._experiment_id())
        except Answered as refusal:
            if refusal.code != NOT_FOUND or not known:
                raise
            self.known.pop(self.experiment, None)
            return do(self._experiment_id())

    def _experiment_id(self) -> str:
        if self.experiment not in self.known:
            self.known[self.experiment] = self._find_experiment() or self._create_experiment()
        return self.known[self.experiment]

    def _find_experiment(self) -> str:
        answer = self._call(
            kfp.ExperimentServiceApi(self._client).experiment_service_list_experiments,
            page_size=PAGE,
            filter=filter_of(predicate("EQUALS", "display_name", stringValue=self.experiment)),
            **self._namespace(),
        )
        named = [e for e in answer.experiments or () if e.display_name == self.experiment]
        return identity(named[0].experiment_id, "an experiment") if named else ""

    def _create_experiment(self) -> str:
        body = kfp.V2beta1Experiment(display_name=self.experiment, namespace=self.namespace or None)
        made = self._call(kfp.ExperimentServiceApi(self._client).experiment_service_create_experiment, body)
        return identity(made.experiment_id, "the new experiment")

    def _namespace(self) -> dict[str, Any]:
        return {"namespace": self.namespace} if self.namespace else {}

    def _call(self, operation: Callable[..., Any], *given: Any, absent: Set[int] = NONE, **named: Any) -> Any:
        """The answer; `None` where KFP says a code in `absent`. A 401 reads the token once more."""
        for fresh in (False, True):
            self._authorize(fresh=fresh)
            try:
                answer = operation(*given, _request_timeout=TIMEOUT, **named)
                # The generated client takes a body that is not JSON for an empty answer, which would read as "absent".
                if not isinstance(json.loads(self._client.last_response.data), dict):
                    raise ValueError("it is no object")
                return answer
            except kfp.ApiException as error:
                code, message = said_of(error)
                if code in absent:
                    return None
                if error.status == 401 and not fresh:
                    continue
                raise refusal_of(operation.__name__, error.status, code, message) from error
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise Unreachable(f"KFP {operation.__name__}: {error}") from error
            except ValueError as error:  # an answer that the generated client cannot read
                raise Unreachable(f"KFP {operation.__name__} gave an answer that cannot be read: {error}") from error
        raise Misconfigured("KFP refuses our token (401), also after reading it again: see FRAUDLOOP_KFP_TOKEN_SECRET")

    def _authorize(self, *, fresh: bool) -> None:
        token = self.token(fresh=fresh)
        if token:
            self._client.default_headers["Authorization"] = f"Bearer {token}"
