"""The KFP adapter when the server fails: each failure becomes ours, and none is taken for an absence."""

import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from statemachine.adapters import kfp as adapter
from statemachine.adapters.kfp import KfpPipelines
from statemachine.contracts.errors import Misconfigured, Unreachable
from statemachine.contracts.kfp_run import KfpRunState, PinnedVersion
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest

ORDER = StageRequest(
    "fraud-1", "fraud", Stage.TRAIN, 1, "abc", "s3://a/runs/fraud-1/train/1/abc", {"dataset": "s3://d"}
)
PIN = PinnedVersion("p1", "v1", "hash")
EXPERIMENTS = (200, {"experiments": [{"experiment_id": "e1", "display_name": "fraudloop"}]})
DROP, HANG = "drop", "hang"


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
    """A server that says what it is told, one answer a request, and remembers what it was asked."""

    def __init__(self):
        self.answers, self.asked = deque(), []
        script = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                script.asked.append((self.command, self.path, body, self.headers.get("Authorization")))
                said = script.answers.popleft()
                if said == HANG:
                    script.hung.wait(5)
                    return
                if said == DROP:
                    self.connection.close()
                    return
                status, payload = said
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
    script.answers.append((404, {"message": "run not found"}))
    assert kfp.get("k1") is None


@pytest.mark.parametrize(
    "answer", [(500, {"message": "boom"}), (503, b"<html>"), (429, {}), (403, {}), DROP, (200, b"{half")]
)
def test_failing_to_look_is_not_an_absence(script, kfp, answer):
    """5xx, throttling, refusals, a dropped connection, half an answer: all say nothing about the run."""
    script.answers.append(answer)
    with pytest.raises(Unreachable):
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


@pytest.mark.parametrize("status", [400, 404, 409, 412])
def test_stopping_what_is_over_or_gone_is_no_error(script, kfp, status):
    """Terminating a CANCELING or ended run is an error in KFP, and none for us."""
    script.answers.append((status, {"message": "cannot"}))
    kfp.stop("k1")


def test_stopping_that_failed_is_told(script, kfp):
    """A 500 is not a stop."""
    script.answers.append((500, {}))
    with pytest.raises(Unreachable):
        kfp.stop("k1")


def test_an_unpublished_version_is_a_clear_reason(script, kfp):
    """Which version is missing, and what to do."""
    script.answers.append((404, {}))
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
