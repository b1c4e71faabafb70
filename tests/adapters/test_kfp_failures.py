"""The KFP adapter when the server fails: each failure becomes ours, and none is taken for an absence."""

import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from statemachine.adapters import kfp as adapter
from statemachine.adapters.kfp import KfpPipelines
from statemachine.contracts.errors import Impossible, Misconfigured, Unreachable
from statemachine.contracts.kfp_run import KfpRunState, PinnedVersion
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest

ORDER = StageRequest(
    "fraud-1", "fraud", Stage.TRAIN, 1, "abc", "s3://a/runs/fraud-1/train/1/abc", {"dataset": "s3://d"}
)
PIN = PinnedVersion("p1", "v1", "hash")
EXPERIMENTS = (200, {"experiments": [{"experiment_id": "e1", "display_name": "fraudloop"}]})
DROP, HANG = "drop", "hang"
PROXY = (404, b"<html><h1>404 Not Found</h1><hr>nginx</html>")


def kfp_error(status, code, message="cannot"):
    """An error as grpc-gateway writes KFP's: upstream backend/src/common/util/error.go, ToGRPCError."""
    return status, {"error": message, "code": code, "message": message, "details": []}


NOT_FOUND = kfp_error(404, 5, "Run k1 not found")
INTERNAL = kfp_error(500, 13, "Failed to create a run due to error fetching manifest")


def run(kfp_id="k1", name="fraud-1.train.1", launch_id="abc", state="RUNNING", **more):
    return {
        "run_id": kfp_id,
        "display_name": name,
        "state": state,
        "created_at": "2026-11-24T02:00:00Z",
        "runtime_config": {"parameters": {"launch_id": launch_id}},
        **more,
    }


class Script:
    """A server that plays scripted responses, one per request, and records the requests."""

    def __init__(self):
        self.answers: deque[Any] = deque()
        self.asked: list[Any] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                script.asked.append((self.command, self.path, body, self.headers.get("Authorization")))
                kfp_error = script.answers.popleft()
                if kfp_error == HANG:
                    script.hung.wait(5)
                    return
                if kfp_error == DROP:
                    self.connection.close()
                    return
                status, payload = kfp_error
                raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = answer  # noqa: N815 - http.server's own names

            def log_message(self, *_):
                pass

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except (OSError, ValueError):
                    self.close_connection = True

        self.hung = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.hung.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def script():
    made = Script()
    yield made
    made.close()


@pytest.fixture
def kfp(script):
    pipelines = KfpPipelines(script.url, "fraudloop", {"fraudloop-train": "hash"})
    pipelines.known["fraudloop"] = "e1"
    return pipelines


def test_a_run_is_seen_as_it_is(script, kfp):
    """Name, launch id, state and time of creation."""
    script.answers.append((200, run()))
    kfp_run = kfp.get("k1")
    assert (kfp_run.kfp_id, kfp_run.name, kfp_run.launch_id, kfp_run.state) == (
        "k1",
        "fraud-1.train.1",
        "abc",
        KfpRunState.RUNNING,
    )
    assert kfp_run.created_at == 1795485600.0


def test_a_404_is_an_absence(script, kfp):
    """We looked, and it is gone."""
    script.answers.append(NOT_FOUND)
    assert kfp.get("k1") is None


@pytest.mark.parametrize(
    "answer",
    [
        *((500, {"message": "boom"}), (503, b"<html>"), (429, {}), DROP, (200, b"{half")),
        *(PROXY, (404, {}), (404, {"message": "no such route"}), (404, {"code": "5", "message": "x"})),
        *((200, b""), (200, b"{}"), (200, b"null"), (200, b"[]"), (200, b'"ok"'), (200, {"run_id": "k1"})),
    ],
)
def test_failing_to_look_is_not_an_absence(script, kfp, answer):
    """5xx, throttling, a proxy's 404, half an answer, an answer without a run: all say nothing about the run."""
    script.answers.append(answer)
    with pytest.raises(Unreachable):
        kfp.get("k1")


@pytest.mark.parametrize("answer", [(403, b"<html>Forbidden</html>"), kfp_error(403, 7, "User is not authorized")])
def test_a_refusal_names_what_is_missing(script, kfp, answer):
    """Rights can be given: neither an absence nor an outage."""
    script.answers.append(answer)
    with pytest.raises(Misconfigured, match="403"):
        kfp.get("k1")


def test_a_server_that_hangs_is_given_up(script, kfp, monkeypatch):
    """No call waits for ever."""
    monkeypatch.setattr(adapter, "TIMEOUT", (0.2, 0.2))
    script.answers.append(HANG)
    with pytest.raises(Unreachable, match="timed out"):
        kfp.get("k1")


def test_nothing_is_repeated_by_the_client(script, kfp):
    """A CreateRun whose answer was lost is not sent again: it may have launched."""
    script.answers.extend([DROP, (200, run())])
    with pytest.raises(Unreachable):
        kfp.create(ORDER, PIN)
    assert len(script.asked) == 1


def test_create_sends_what_was_pinned_and_ordered(script, kfp):
    """Name, experiment, pinned version, all arguments."""
    script.answers.append((200, run()))
    kfp.create(ORDER, PIN)
    _, path, body, _ = script.asked[0]
    assert path == "/apis/v2beta1/runs"
    assert body["display_name"] == "fraud-1.train.1"
    assert body["pipeline_version_reference"] == {"pipeline_id": "p1", "pipeline_version_id": "v1"}
    assert body["runtime_config"]["parameters"] == ORDER.arguments()


def test_listing_takes_every_page_and_only_true_prefixes(script, kfp):
    """A substring match on the server is a prefix match here: `xfraud-1.` is not `fraud-1.`."""
    script.answers.append((200, {"runs": [run("k1"), run("k2", "xfraud-1.train.1")], "next_page_token": "n"}))
    script.answers.append((200, {"runs": [run("k3", "fraud-1.train.1", "def")]}))
    assert [kfp_run.kfp_id for kfp_run in kfp.list("fraud-1.")] == ["k1", "k3"]
    assert all("experiment_id=e1" in path for _, path, _, _ in script.asked)


@pytest.mark.parametrize("answer", [NOT_FOUND, kfp_error(400, 3, "Failed to terminate a run k1. Row not found")])
def test_stopping_what_is_over_or_gone_is_no_error(script, kfp, answer):
    """Terminating a CANCELING or ended run is InvalidArgument in KFP (run_store.go, TerminateRun), and none for us."""
    script.answers.append(answer)
    kfp.stop("k1")


@pytest.mark.parametrize("answer", [(500, {}), PROXY, (400, b"<html>Bad Request</html>"), (200, b"")])
def test_stopping_that_failed_is_told(script, kfp, answer):
    """A 500 is not a stop, and neither is what a proxy says."""
    script.answers.append(answer)
    with pytest.raises(Unreachable):
        kfp.stop("k1")


# -- create ---------------------------------------------------------------------------------------------------------

VERSION = (200, {"pipeline_id": "p1", "pipeline_version_id": "v1", "display_name": "hash"})
PIPELINE = (200, {"pipeline_id": "p2", "display_name": "fraudloop-train"})
VERSIONS = (200, {"pipeline_versions": [{"pipeline_version_id": "v2", "display_name": "hash"}]})


def test_an_order_that_kfp_calls_invalid_is_impossible(script, kfp):
    """It stays invalid however often it is sent, and nothing was launched."""
    script.answers.extend([kfp_error(400, 3, "Unrecognized input parameter: x"), VERSION])
    with pytest.raises(Impossible, match="Unrecognized input parameter"):
        kfp.create(ORDER, PIN)


UNKNOWN = [[INTERNAL, VERSION], [(400, b"<html>")], [(502, b"<html>")], [(200, b"{}")], [(200, b"")], [DROP], [PROXY]]


@pytest.mark.parametrize("answers", UNKNOWN)
def test_a_create_of_which_nothing_is_known_is_unreachable(script, kfp, answers):
    """It may have launched: KFP makes the workflow before its own row. A proxy's 400 tells as little as its 502."""
    script.answers.extend(answers)
    with pytest.raises(Unreachable):
        kfp.create(ORDER, PIN)


@pytest.mark.parametrize("answer", [(403, b"<html>"), kfp_error(403, 7, "not authorized")])
def test_a_create_that_is_not_allowed_is_misconfigured(script, kfp, answer):
    """Somebody can give the right."""
    script.answers.append(answer)
    with pytest.raises(Misconfigured, match="403"):
        kfp.create(ORDER, PIN)


def test_a_version_that_was_deleted_and_published_anew_is_found_by_its_content(script, kfp):
    """KFP says 500 of a pinned version that is gone (resource_manager.go, CreateRun); the content has new ids."""
    script.answers.extend([INTERNAL, kfp_error(404, 5), PIPELINE, VERSIONS, (200, run())])
    assert kfp.create(ORDER, PIN).kfp_id == "k1"
    assert script.asked[-1][2]["pipeline_version_reference"] == {"pipeline_id": "p2", "pipeline_version_id": "v2"}


def test_a_version_that_was_deleted_and_is_gone_is_a_clear_reason(script, kfp):
    """Which one, and what to do."""
    script.answers.extend([INTERNAL, kfp_error(404, 5), kfp_error(404, 5)])
    with pytest.raises(Misconfigured, match=r"fraudloop-train@hash.*fraudloop publish"):
        kfp.create(ORDER, PIN)


def test_a_deleted_experiment_is_noticed_by_whoever_kept_its_id(script, kfp):
    """A Lambda lives for hours; the experiment was deleted and is made again under the same name."""
    found = (200, {"experiments": [{"experiment_id": "e2", "display_name": "fraudloop"}]})
    script.answers.extend([kfp_error(404, 5, "Experiment e1 not found"), found, (200, run())])
    kfp.create(ORDER, PIN)
    assert script.asked[-1][2]["experiment_id"] == "e2"
    script.answers.append((200, {}))
    assert kfp.list("fraud-1.") == ()
    assert "experiment_id=e2" in script.asked[-1][1]


def test_a_listing_asks_for_the_newest_since_the_run_began(script, kfp):
    """Unbounded, KFP 2.15 reads the manifest of every run of the experiment."""
    script.answers.append((200, {"runs": [run()]}))
    kfp.list("fraud-1.", 1795485600.7)
    query = parse_qs(urlsplit(script.asked[0][1]).query)
    assert query["sort_by"] == ["created_at desc"]
    bound = {"operation": "GREATER_THAN_EQUALS", "key": "created_at", "timestampValue": "2026-11-24T02:00:00Z"}
    assert bound in json.loads(query["filter"][0])["predicates"]


TASKS = [
    {"display_name": "driver", "state": "SUCCEEDED"},
    {"display_name": "train", "state": "FAILED", "state_history": [{"state": "FAILED", "error": {"message": "OOM"}}]},
]
HISTORY = [{"state": "FAILED", "error": {"message": "workflow shutdown with strategy: Terminate"}}]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (run(state="FAILED"), ""),
        (run(state="FAILED", run_details={"task_details": TASKS}), "train failed: OOM"),
        (run(state="FAILED", state_history=HISTORY), "workflow shutdown with strategy: Terminate"),
        (run(state="FAILED", error={"code": 13, "message": "cannot be read back"}), "cannot be read back"),
    ],
)
def test_why_a_run_failed_is_said_by_its_tasks_or_states(script, kfp, answer, why):
    """KFP sets `error` only of a run that it cannot convert (api_converter.go, toApiRun)."""
    script.answers.append((200, answer))
    assert kfp.get("k1").error == why


def test_an_unpublished_version_is_a_clear_reason(script, kfp):
    """Which version is missing, and what to do."""
    script.answers.append(kfp_error(404, 5))
    pins = kfp.pins([Stage.TRAIN, Stage.EXPORT])
    assert "fraudloop-train@hash" in pins.missing
    assert "fraudloop-export@?" in pins.missing
    assert "fraudloop publish" in pins.missing


def test_a_published_version_is_pinned_by_its_hash(script, kfp):
    """The version whose name is the content hash, not the newest one."""
    script.answers.append((200, {"pipeline_id": "p1", "display_name": "fraudloop-train"}))
    versions = [
        {"pipeline_version_id": "v2", "display_name": "other"},
        {"pipeline_version_id": "v1", "display_name": "hash"},
    ]
    script.answers.append((200, {"pipeline_versions": versions}))
    assert kfp.pins([Stage.TRAIN]).found == {"train": PIN}


def test_the_experiment_is_made_when_it_is_not_there(script):
    """The first launch of a fresh KFP."""
    pipelines = KfpPipelines(script.url, "fraudloop", {}, namespace="ns")
    script.answers.extend([(200, {}), (200, {"experiment_id": "e9"}), (200, {"runs": []})])
    assert pipelines.list("x.") == ()
    assert script.asked[1][2]["namespace"] == "ns"


def test_a_401_reads_the_token_once_more(script):
    """A rotated token is picked up without a deployment."""
    tokens = iter(["old", "new"])
    pipelines = KfpPipelines(script.url, "e", {}, token=lambda *, fresh=False: next(tokens))
    script.answers.extend([(401, {}), (200, run())])
    assert pipelines.get("k1") is not None
    assert [header for *_, header in script.asked] == ["Bearer old", "Bearer new"]


def test_a_token_that_stays_refused_is_unreachable(script):
    """Nothing is concluded about the run, and the message names the status."""
    pipelines = KfpPipelines(script.url, "e", {}, token=lambda *, fresh=False: "bad")
    script.answers.extend([(401, {}), (401, {})])
    with pytest.raises((Unreachable, Misconfigured), match="401"):
        pipelines.get("k1")


def test_a_state_newer_than_us_is_alive(script, kfp):
    """An unknown state is not over: nothing is retried on its account."""
    script.answers.append((200, run(state="SOMETHING_NEW")))
    try:
        kfp_run = kfp.get("k1")
    except Unreachable:
        return  # the generated client refuses values that it does not know: not an absence either
    assert not kfp_run.state.over
