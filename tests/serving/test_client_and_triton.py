"""The scoring client and `fraudloop score` against a real Triton; there is no store, so answers say so."""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_cases import Cluster, Trained
from test_request_lines import LINE
from typer.testing import CliRunner

from cli.main import app
from clients.scoring import HttpTransport, InvalidTransaction, NotScored, ScoringClient
from clients.scoring_grpc import GrpcTransport
from local.triton import Triton, missing_system_library
from training.data.presets import preset
from training.outcome import StageResult
from training.ports import free_port

pytestmark = [pytest.mark.triton, pytest.mark.xdist_group("triton")]

TEXT = LINE.decode()


@pytest.fixture(scope="module")
def both(exported: StageResult, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A server that answers over HTTP and over gRPC."""
    if missing := missing_system_library():
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("both")
    # A copy: the server's interpreters leave their bytecode beside the code.
    copy = shutil.copytree(Path(exported.outputs["repository"], "repository"), folder / "repository")
    with Triton(copy, folder, grpc_port=free_port()) as server:
        server.wait_ready()
        yield server


def test_a_payment_is_scored_as_a_line_and_as_values(cluster: Cluster) -> None:
    """Both forms of one transaction have one probability, and reasons come if they are asked for."""
    with ScoringClient.of(f"http://{cluster.address}") as client:
        names = client.columns()
        assert names == preset().known
        values = dict(zip(names, TEXT.split(","), strict=True))
        line, named = client.score(TEXT, reasons=True), client.score(values)
        assert line.probability == named.probability
        assert line.degraded == "no store"
        assert line.reasons
        assert named.reasons == ()
        with pytest.raises(InvalidTransaction, match="Amount is 'nan'"):
            client.score(TEXT.replace("$134.09", "nan"))


def test_a_file_is_scored_with_errors_by_row(cluster: Cluster, trained: Trained, tmp_path: Path) -> None:
    """Each row has its score, in the file's order; the bad one has its reason, and status 1 says that there is one."""
    source = (trained.dataset.parent / "transactions.csv").read_text().splitlines()[:71]
    source[40] = source[40].replace("$", "nan", 1)
    (tmp_path / "day.csv").write_text("\n".join(source) + "\n")
    call = ["score", str(tmp_path / "day.csv"), "--url", f"http://{cluster.address}", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 1, done.output
    assert "row 40: TRANSACTION[0]: Amount is 'nan" in done.stderr
    assert "69 scored" in done.stderr
    with (tmp_path / "out").open() as text:
        rows = list(csv.DictReader(text))
    assert [int(row["row"]) for row in rows] == list(range(1, 71))
    assert [row["row"] for row in rows if row["error"]] == ["40"]
    assert all(0 <= float(row["probability"]) <= 1 for row in rows if not row["error"])
    assert {row["degraded"] for row in rows if not row["error"]} == {"no store"}


def test_a_file_of_something_else_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    """The message names the columns that the model takes."""
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    done = CliRunner().invoke(app, ["score", str(tmp_path / "other.csv"), "--url", f"http://{cluster.address}"])
    assert done.exit_code == 1
    assert "User, Card, Year" in done.stderr


def test_grpc_answers_as_http(both: Triton, tmp_path: Path) -> None:
    """Every value of `fraud_live` and `fraud_score` is the same, and so is a refusal. An unknown model is none."""
    url = f"grpc://127.0.0.1:{both.grpc_port}"
    with (
        ScoringClient.of(both.url, deadline=20, attempt=5) as http,
        ScoringClient.of(url, deadline=20, attempt=5) as grpc,
    ):
        told = [client.score_many([TEXT] * 2, ["a", "b"], reasons=True) for client in (http, grpc)]
        assert told[0] == told[1]
        assert told[0][0].reasons
        assert http.columns() == grpc.columns()
        with pytest.raises(InvalidTransaction, match="Amount is 'nan'"):
            grpc.score(TEXT.replace("$134.09", "nan"))
    inputs = {"TRANSACTION": [TEXT], "CARD_HISTORY": [""], "MERCHANT_HISTORY": [""]}
    outputs = ["PROBABILITY", "DECISION", "STATE"]
    score = [kind(where, "fraud_score") for kind, where in ((HttpTransport, both.url), (GrpcTransport, url))]
    answers = [one.infer(inputs, outputs, 5) for one in score]
    assert answers[0] == answers[1]
    assert set(answers[0]) == set(outputs)
    for one in score:
        one.close()
    with ScoringClient.of(url, model="nosuch", deadline=1) as client, pytest.raises(NotScored, match="unknown model"):
        client.score(TEXT)
    (tmp_path / "day.csv").write_text(f"{','.join(preset().known)}\n{TEXT}\n")
    done = CliRunner().invoke(app, ["score", str(tmp_path / "day.csv"), "--url", url, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert f",{told[0][0].probability}," in (tmp_path / "out").read_text()
