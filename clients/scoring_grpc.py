"""KServe v2 over gRPC, for `ScoringClient.of("grpc://host:8001")`; it needs the packages grpcio and protobuf.

Triton's own `tritonclient[grpc]` would bring numpy and asks for protobuf < 5, which is not ours. So the few messages
that one call needs are declared here; a test compares them with Triton's generated ones.
"""

import ssl
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessages

from clients.scoring import MODEL, UNLOADED, Answer, InvalidTransaction, Unanswering
from statemachine.contracts.errors import Misconfigured

PACKAGE = "inference"
SERVICE = f"/{PACKAGE}.GRPCInferenceService/"
LARGEST = 4 << 20  # bytes of a request or an answer; 64 payments are some 20 kB
# The subset of grpc_service.proto and model_config.proto; [] repeats, and a name that is no type is a message.
MESSAGES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "ModelInferRequest": {
        "model_name": (1, "string"),
        "inputs": (5, "[]ModelInferRequest.InferInputTensor"),
        "outputs": (6, "[]ModelInferRequest.InferRequestedOutputTensor"),
        "raw_input_contents": (7, "[]bytes"),
    },
    "ModelInferRequest.InferInputTensor": {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "[]int64")},
    "ModelInferRequest.InferRequestedOutputTensor": {"name": (1, "string")},
    "ModelInferResponse": {
        "outputs": (5, "[]ModelInferResponse.InferOutputTensor"),
        "raw_output_contents": (6, "[]bytes"),
    },
    "ModelInferResponse.InferOutputTensor": {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "[]int64")},
    "ModelConfigRequest": {"name": (1, "string")},
    "ModelConfigResponse": {"config": (1, "ModelConfig")},
    "ModelConfig": {"parameters": (14, "[]ModelConfig.ParametersEntry")},
    "ModelConfig.ParametersEntry": {"key": (1, "string"), "value": (2, "ModelParameter")},
    "ModelParameter": {"string_value": (1, "string")},
}
FORMATS = {"BOOL": "?", "INT32": "i", "INT64": "q", "FP32": "f", "FP64": "d"}  # of struct; BYTES are read otherwise
OPTIONS = (
    ("grpc.max_send_message_length", LARGEST),
    ("grpc.max_receive_message_length", LARGEST),
    ("grpc.enable_http_proxy", 0),  # as http.client, which knows none
    ("grpc.use_local_subchannel_pool", 1),  # its own connection: a dead one would stay while another client has it
)


def _declared() -> Mapping[str, Any]:
    """The message classes by name, in a pool of their own: tritonclient may be loaded beside them."""
    file = FileDescriptorProto(name="fraudloop_scoring.proto", package=PACKAGE, syntax="proto3")
    for path, fields in MESSAGES.items():
        outer, _, inner = path.partition(".")
        message = file.message_type.add(name=outer) if not inner else _outer(file, outer).nested_type.add(name=inner)
        message.options.map_entry = inner == "ParametersEntry"
        for name, (number, kind) in fields.items():
            message.field.append(_field(name, number, kind))
    return dict(GetMessages([file], DescriptorPool()))


def _outer(file: FileDescriptorProto, name: str) -> Any:
    return next(one for one in file.message_type if one.name == name)


def _field(name: str, number: int, kind: str) -> FieldDescriptorProto:
    one = kind.removeprefix("[]")
    label = FieldDescriptorProto.LABEL_REPEATED if one != kind else FieldDescriptorProto.LABEL_OPTIONAL
    field = FieldDescriptorProto(name=name, number=number, label=label)
    if one in ("string", "bytes", "int64"):
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{one.upper()}")
    else:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{PACKAGE}.{one}"
    return field


TYPES = _declared()


class GrpcTransport:
    """KServe v2 over one channel to grpc://host:port, or grpcs://host:port for TLS by the system's roots."""

    def __init__(self, url: str, model: str = MODEL) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = None
        if parts.scheme not in ("grpc", "grpcs") or not parts.hostname or not port or parts.path.strip("/"):
            raise Misconfigured(f"{url!r} is no URL of a gRPC server, such as grpc://127.0.0.1:8001")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self._where, self._target, self._model = url, f"{host}:{port}", model
        self._tls = grpc.ssl_channel_credentials(_roots()) if parts.scheme == "grpcs" else None
        self._channel: grpc.Channel | None = None

    def infer(self, inputs: Mapping[str, Sequence[str]], outputs: Sequence[str], seconds: float) -> Answer:
        """See `Transport`."""
        request = _type("ModelInferRequest")(model_name=self._model)
        for name, texts in inputs.items():
            request.inputs.add(name=name, datatype="BYTES", shape=[len(texts), 1])
            request.raw_input_contents.append(_packed(texts))
        for name in outputs:
            request.outputs.add(name=name)
        if (size := request.ByteSize()) > LARGEST:
            raise InvalidTransaction(f"the request has {size:,} bytes; at most {LARGEST:,} are sent")
        answer = self._ask("ModelInfer", request, seconds)
        try:
            told = zip(answer.outputs, answer.raw_output_contents, strict=True)
            return {one.name: _values(one.datatype, raw) for one, raw in told}
        except (ValueError, KeyError, struct.error) as error:
            raise Unanswering(f"{self._where}: the answer cannot be read: {type(error).__name__}: {error}") from error

    def parameters(self, seconds: float) -> Mapping[str, str]:
        """See `Transport`."""
        told = self._ask("ModelConfig", _type("ModelConfigRequest")(name=self._model), seconds)
        return {name: one.string_value for name, one in told.config.parameters.items()}

    def close(self) -> None:
        """See `Transport`."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _ask(self, method: str, request: Any, seconds: float) -> Any:
        """The answer of one call that takes at most `seconds`, the connection included."""
        try:
            return self._method(method)(request, timeout=seconds)
        except grpc.RpcError as error:
            code, told = error.code(), str(error.details())
            if code is grpc.StatusCode.INVALID_ARGUMENT and not told.startswith(UNLOADED):
                raise InvalidTransaction(told) from error
            self.close()  # the next attempt connects anew, at once
            raise Unanswering(f"{self._where}: {code.name}: {told}") from error

    def _method(self, name: str) -> Any:
        if self._channel is None:
            self._channel = (
                grpc.insecure_channel(self._target, OPTIONS)
                if self._tls is None
                else grpc.secure_channel(self._target, self._tls, OPTIONS)
            )
        send, read = _type(f"{name}Request").SerializeToString, _type(f"{name}Response").FromString
        return self._channel.unary_unary(SERVICE + name, request_serializer=send, response_deserializer=read)


def _type(name: str) -> Any:
    return TYPES[f"{PACKAGE}.{name}"]


def _roots() -> bytes | None:
    """The certificates that Python trusts by default, SSL_CERT_FILE included; None: gRPC's own."""
    file = ssl.get_default_verify_paths().cafile
    return Path(file).read_bytes() if file else None


def _packed(texts: Sequence[str]) -> bytes:
    """A BYTES tensor as Triton reads it: four bytes of length before each text."""
    return b"".join(struct.pack("<I", len(one)) + one for one in (text.encode() for text in texts))


def _values(datatype: str, raw: bytes) -> Sequence[Any]:
    """Flat values of a tensor. Raises ValueError, KeyError or struct.error if it is damaged or of another type."""
    if datatype == "BYTES":
        return list(_texts(raw))
    form = f"<{FORMATS[datatype]}"
    return [value for (value,) in struct.iter_unpack(form, raw)]


def _texts(raw: bytes) -> Iterator[str]:
    at = 0
    while at < len(raw):
        (length,) = struct.unpack_from("<I", raw, at)
        at += 4 + length
        if at > len(raw):
            raise ValueError("a text ends beyond its tensor")
        yield raw[at - length : at].decode()
