"""Attestations as others read them: in-toto Statement v1 in a DSSE envelope. Pure: no key is used here.

DSSE: github.com/secure-systems-lab/dsse, protocol.md and envelope.md, v1.0. Statement: github.com/in-toto/attestation,
spec/v1/statement.md.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from statemachine.contracts.errors import Malformed

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
DECISION = "https://fraudloop.io/attestation/decision/v1"  # names the predicate; nothing needs to lie there
PREVIOUS = "previous"


@dataclass(frozen=True)
class Signature:
    """One signature; `keyid` is a hint and is not authenticated."""

    sig: bytes
    keyid: str = ""


@dataclass(frozen=True)
class Envelope:
    """A decoded DSSE envelope."""

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]

    def dumps(self) -> bytes:
        """As JSON; equal envelopes give equal bytes."""
        signatures = [{"keyid": each.keyid, "sig": _encoded(each.sig)} for each in self.signatures]
        return canonical(
            {"payload": _encoded(self.payload), "payloadType": self.payload_type, "signatures": signatures}
        )


def pae(payload_type: str, body: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def read_envelope(body: bytes) -> Envelope:
    """The envelope in JSON; standard and URL-safe base64 are both read, fields that it does not know are left out.

    Raises:
        Malformed: it is none.
    """
    try:
        found = json.loads(body)
        signatures = tuple(Signature(_decoded(s["sig"]), str(s.get("keyid", ""))) for s in found["signatures"])
        return Envelope(_decoded(found["payload"]), str(found["payloadType"]), signatures)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed(f"it is no DSSE envelope: {type(error).__name__}: {error}") from error


def statement(files: Mapping[str, bytes], predicate: Mapping[str, Any]) -> bytes:
    """The statement that `predicate` holds of exactly these files, by their sha256."""
    subject = [{"name": name, "digest": {"sha256": sha256(body)}} for name, body in sorted(files.items())]
    return canonical({"_type": STATEMENT, "subject": subject, "predicateType": DECISION, "predicate": dict(predicate)})


def read_statement(body: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    """The sha256 of each subject by its name, and the predicate.

    Raises:
        Malformed: it is no statement, or not of a decision, or two subjects have one name.
    """
    try:
        found = json.loads(body)
        if (found["_type"], found["predicateType"]) != (STATEMENT, DECISION):
            raise Malformed(f"a {found['_type']} about {found['predicateType']}; expected {STATEMENT} about {DECISION}")
        subjects = [(str(each["name"]), str(each["digest"]["sha256"])) for each in found["subject"]]
        predicate = dict(found["predicate"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed(f"it is no in-toto statement: {type(error).__name__}: {error}") from error
    if len(dict(subjects)) != len(subjects):
        raise Malformed("two subjects of the statement have one name")
    return dict(subjects), predicate


def chained(records: Iterable[Mapping[str, Any]]) -> bytes:
    """One JSON line a record; each holds the sha256 of the line before it, so that none can go or change places."""
    lines: list[bytes] = []
    for record in records:
        linked = {**record, PREVIOUS: sha256(lines[-1]) if lines else ""}
        lines.append(json.dumps(linked, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())
    return b"".join(line + b"\n" for line in lines)


def links(body: bytes) -> list[dict[str, Any]]:
    """The records of `chained`.

    Raises:
        Malformed: a line is no record, or its link does not lead to the line before.
    """
    found: list[dict[str, Any]] = []
    before = ""
    for number, line in enumerate(body.splitlines(), 1):
        try:
            record = dict(json.loads(line))
        except (ValueError, TypeError, RecursionError) as error:
            raise Malformed(f"line {number} is no record: {error}") from error
        if record.pop(PREVIOUS, None) != before:
            raise Malformed(f"line {number} does not follow the line before it")
        before = sha256(line)
        found.append(record)
    return found


def head(body: bytes) -> str:
    """The sha256 of the last line of `chained`; "" if it has none."""
    lines = body.splitlines()
    return sha256(lines[-1]) if lines else ""


def canonical(value: Any) -> bytes:
    """JSON with sorted keys: equal values, equal bytes."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def sha256(body: bytes) -> str:
    """The hex digest."""
    return hashlib.sha256(body).hexdigest()


def _encoded(body: bytes) -> str:
    return base64.b64encode(body).decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
