"""The scoring client over gRPC, against a server of Triton's generated code that fails as a real one does."""

import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from clients.scoring import InvalidTransaction, NotScored, ScoringClient, Unanswering
from clients.scoring_grpc import LARGEST, MESSAGES, TYPES, GrpcTransport
from statemachine.contracts.errors import Misconfigured
from training.ports import free_port

Reply = Callable[[Any, grpc.ServicerContext], Any]
LINE = "7,1,2019,5,17,06:21,$134.09"
UNKNOWN = "Request for unknown model: 'fraud_live' has no available versions"


def answered(request: Any, _: grpc.ServicerContext) -> Any:
    """As Triton answers for `fraud_live`: raw values, two relations, the outputs that were asked for."""
    rows = request.inputs[0].shape[0]
    text = lambda *given: serialize_byte_tensor(np.array(given * rows, dtype=np.object_)).item()  # noqa: E731
    made = {
        "PROBABILITY": ("FP32", np.arange(0.25, rows, dtype="<f4").tobytes()),
        "DECISION": ("BOOL", b"\1" * rows),
        "HISTORY_USED": ("INT32", np.array([3, 4] * rows, dtype="<i4").tobytes()),
        "VERSION": ("BYTES", text("fraud-1-aabbccdd")),
        "DEGRADED": ("BYTES", text("")),
        "REASONS": ("BYTES", text("über", "", "")),
    }
    answer = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
    for one in request.outputs:
        datatype, raw = made[one.name]
        answer.outputs.add(name=one.name, datatype=datatype, shape=[rows, 1])
        answer.raw_output_contents.append(raw)
    return answer


def failing(code: grpc.StatusCode, told: str) -> Reply:
    """An error as Triton words it."""
    return lambda _, context: context.abort(code, told)


def hanging(_: Any, context: grpc.ServicerContext) -> Any:
    """No answer in time."""
    time.sleep(0.4)
    context.abort(grpc.StatusCode.CANCELLED, "too late")


class Replying(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Gives these replies in turn, the last one again and again, and remembers what it was asked."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.replies, self.seen = replies, list[Any]()

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 — gRPC's name
        self.seen.append(request)
        return self.replies[min(len(self.seen), len(self.replies)) - 1](request, context)

    def ModelConfig(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        parameter = model_config_pb2.ModelParameter(string_value='["User", "Amount"]')
        config = model_config_pb2.ModelConfig(name=request.name, parameters={"columns": parameter})
        return service_pb2.ModelConfigResponse(config=config)


@contextmanager
def serving(
    *replies: Reply, port: int = 0, tls: grpc.ServerCredentials | None = None
) -> Iterator[tuple[str, list[Any]]]:
    """A server, and what it was asked."""
    servicer = Replying(replies)
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
        at = f"127.0.0.1:{port}"
        port = server.add_secure_port(at, tls) if tls else server.add_insecure_port(at)
        server.start()
        try:
            yield f"grpc{'s' if tls else ''}://127.0.0.1:{port}", servicer.seen
        finally:
            server.stop(None).wait(5)


def texts(request: Any, name: str) -> list[str]:
    """The texts of an input, as Triton reads them."""
    (found,) = (raw for one, raw in zip(request.inputs, request.raw_input_contents, strict=True) if one.name == name)
    return [one.decode() for one in deserialize_bytes_tensor(found)]


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_tritons(name: str) -> None:
    """Each declared field has the number, type and repetition that Triton's generated code gives it."""
    outer, _, inner = name.partition(".")
    module = service_pb2 if hasattr(service_pb2, outer) else model_config_pb2
    found = _described(TYPES[f"inference.{outer}"].DESCRIPTOR, inner)
    theirs = _described(getattr(module, outer).DESCRIPTOR, inner)
    assert found.full_name == theirs.full_name
    assert [_form(one) for one in found.fields] == [_form(theirs.fields_by_name[one.name]) for one in found.fields]


def _described(message: Descriptor, inner: str) -> Descriptor:
    return message.nested_types_by_name[inner] if inner else message


def _form(field: FieldDescriptor) -> tuple[object, ...]:
    return field.name, field.number, field.type, field.is_repeated, getattr(field.message_type, "full_name", "")


def test_an_answer_over_grpc_is_a_record() -> None:
    """All outputs of each payment, in order; the request says what HTTP's says."""
    with serving(answered) as (url, seen), ScoringClient.of(url) as client:
        assert client.columns() == ("User", "Amount")
        first, second = client.score_many([{"Amount": "€1"}, LINE], ["a", "b"], reasons=True)
        plain = client.score(LINE)
    assert (first.request_id, first.probability, first.decision) == ("a", 0.25, True)
    assert (second.request_id, second.probability, second.version) == ("b", 1.25, "fraud-1-aabbccdd")
    assert (first.history_used, first.degraded, first.reasons, plain.reasons) == ((3, 4), "", ("über",), ())
    assert seen[0].model_name == "fraud_live"
    assert texts(seen[0], "TRANSACTION") == ['{"Amount": "€1"}', LINE]
    assert [(one.datatype, list(one.shape)) for one in seen[0].inputs] == [("BYTES", [2, 1])] * 2
    assert "REASONS" not in str(seen[1])


@pytest.mark.parametrize(
    "failure",
    [
        failing(grpc.StatusCode.UNAVAILABLE, "the server is not ready"),
        failing(grpc.StatusCode.UNAVAILABLE, UNKNOWN),
        failing(grpc.StatusCode.INVALID_ARGUMENT, UNKNOWN),
        failing(grpc.StatusCode.DEADLINE_EXCEEDED, "queued too long"),
        failing(grpc.StatusCode.INTERNAL, "the model failed"),
        hanging,
        lambda request, _: service_pb2.ModelInferResponse(outputs=[{"name": "VERSION", "datatype": "BYTES"}]),
    ],
    ids=["unavailable", "reloading", "reloading-as-http", "queued", "internal", "hanging", "no-values"],
)
def test_the_second_server_is_asked_under_the_same_id(failure: Reply) -> None:
    """So a payment that was counted by the first attempt is not counted by the second."""
    with (
        serving(failure) as (first, failed),
        serving(answered) as (second, seen),
        ScoringClient.of(first, second, attempt=0.3) as client,
    ):
        score = client.score(LINE)
        client.score(LINE)
    assert score.probability == 0.25
    assert (len(failed), len(seen)) == (1, 2)
    assert texts(failed[0], "REQUEST_ID") == texts(seen[0], "REQUEST_ID") == [score.request_id]


def test_a_server_that_comes_back_is_found_at_once() -> None:
    """A channel that could not connect would wait a second before it tries again; a new one does not."""
    port = free_port()
    transport = GrpcTransport(f"grpc://127.0.0.1:{port}")
    with pytest.raises(Unanswering, match="UNAVAILABLE"):
        transport.infer({"TRANSACTION": [LINE]}, ["VERSION"], 1)
    with serving(answered, port=port):
        assert transport.infer({"TRANSACTION": [LINE]}, ["VERSION"], 1) == {"VERSION": ["fraud-1-aabbccdd"]}
        transport.close()


def test_each_client_has_a_connection_of_its_own() -> None:
    """gRPC would share one in a process, and a dead one would stay as long as any client has it."""
    peers: list[str] = []

    def noted(request: Any, context: grpc.ServicerContext) -> Any:
        peers.append(context.peer())
        return answered(request, context)

    with serving(noted) as (url, _), ScoringClient.of(url) as first, ScoringClient.of(url) as second:
        for client in (first, second, first):
            client.score(LINE)
    assert peers[0] == peers[2] != peers[1]


def test_a_refusal_over_grpc_is_final() -> None:
    """The server's words reach the caller, and nothing is asked again."""
    refusing = failing(grpc.StatusCode.INVALID_ARGUMENT, "TRANSACTION[0]: Amount is 'nan'")
    with (
        serving(refusing) as (url, seen),
        ScoringClient.of(url) as client,
        pytest.raises(InvalidTransaction, match=r"TRANSACTION\[0\]: Amount is 'nan'"),
    ):
        client.score(LINE)
    assert len(seen) == 1


def test_the_deadline_ends_a_call_over_grpc() -> None:
    """Each attempt has its own, and the call has the whole."""
    with serving(hanging) as (url, _), ScoringClient.of(url, deadline=0.5, attempt=0.2) as client:
        began = time.monotonic()
        with pytest.raises(NotScored, match=r"within 0\.5 s in \d attempts.*DEADLINE_EXCEEDED"):
            client.score(LINE)
        assert time.monotonic() - began < 1.5


def test_what_cannot_be_asked_over_grpc_is_said() -> None:
    """No port, a port that is none, a path; and a payment that no message can hold."""
    for wrong in ("grpc://host", "grpc://host:many", "grpcs://:8001", "grpc://host:8001/v2"):
        with pytest.raises(Misconfigured, match=r"such as grpc://127\.0\.0\.1:8001"):
            ScoringClient.of(wrong)
    with serving(answered) as (url, seen), ScoringClient.of(url) as client:
        with pytest.raises(InvalidTransaction, match="at most 4,194,304"):
            client.score("7" * LARGEST)
        assert not seen


def test_http_needs_no_grpc_and_grpc_says_what_it_needs() -> None:
    """In an interpreter in which grpcio cannot be imported."""
    code = (
        "import sys; sys.modules['grpc'] = None; from clients.scoring import ScoringClient as c; "
        "c.of('http://127.0.0.1:9'); c.of('grpc://127.0.0.1:9')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "Misconfigured: grpc://127.0.0.1:9 needs the package grpc: pip install grpcio protobuf" in done.stderr


def test_tls_trusts_what_python_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose certificate SSL_CERT_FILE holds is believed, and no other one."""
    key, certificate = _identity()
    (tmp_path / "roots.pem").write_bytes(certificate)
    tls = grpc.ssl_server_credentials([(key, certificate)])
    with serving(answered, tls=tls) as (url, _):
        with ScoringClient.of(url, deadline=0.5) as client, pytest.raises(NotScored, match="UNAVAILABLE"):
            client.score(LINE)
        monkeypatch.setenv(ssl.get_default_verify_paths().openssl_cafile_env, str(tmp_path / "roots.pem"))
        with ScoringClient.of(url, deadline=5, attempt=2) as client:
            assert client.score(LINE).probability == 0.25


def _identity() -> tuple[bytes, bytes]:
    """A key and its self-signed certificate of 127.0.0.1, as PEM."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    return key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain), made.public_bytes(pem)
