"""Checks an audit file with nothing but a public key: signature, digests, history, and that its parts agree."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cli.audit.container import ENVELOPE, unpack
from cli.audit.keys import holds, keyid
from statemachine.contracts.attestation import (
    PAYLOAD_TYPE,
    Envelope,
    head,
    links,
    pae,
    read_envelope,
    read_statement,
    sha256,
)
from statemachine.contracts.errors import Malformed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey


@dataclass(frozen=True)
class AuditFinding:
    """One check and what is wrong; "" if it held."""

    check: str
    problem: str = ""


@dataclass(frozen=True)
class Verified:
    """What the file says of itself, which counts only if all `findings` held."""

    findings: tuple[AuditFinding, ...]
    predicate: Mapping[str, Any]

    @property
    def holds(self) -> bool:
        """Every check was made and held."""
        return len(self.findings) == len(CHECKS) and not any(each.problem for each in self.findings)


@dataclass
class _Case:
    body: bytes
    key: "EllipticCurvePublicKey"
    files: dict[str, bytes]
    envelope: Envelope
    digests: dict[str, str]
    predicate: dict[str, Any]


def verify(body: bytes, key: "EllipticCurvePublicKey") -> Verified:
    """Makes all checks in turn; it stops at the first that fails, since the next ones rest on it."""
    case = _Case(body, key, {}, Envelope(b"", "", ()), {}, {})
    findings: list[AuditFinding] = []
    for name, check in CHECKS.items():
        try:
            check(case)
        except Malformed as error:
            return Verified((*findings, AuditFinding(name, str(error))), {})
        findings.append(AuditFinding(name))
    return Verified(tuple(findings), case.predicate)


def _container(case: _Case) -> None:
    case.files = unpack(case.body)
    if ENVELOPE not in case.files:
        raise Malformed(f"it holds no {ENVELOPE}")


def _signature(case: _Case) -> None:
    body = case.files.pop(ENVELOPE)
    case.envelope = read_envelope(body)
    if case.envelope.payload_type != PAYLOAD_TYPE:
        raise Malformed(f"its payload is {case.envelope.payload_type!r}; expected {PAYLOAD_TYPE}")
    message = pae(case.envelope.payload_type, case.envelope.payload)
    good = [one for one in case.envelope.signatures if holds(case.key, message, one.sig)]
    if not good:
        raise Malformed(f"no signature in it is that of the key {keyid(case.key)[:16]}…")
    # The signature says nothing of the envelope's own spelling, nor of the hint which key it was.
    if len(good) != len(case.envelope.signatures) or any(one.keyid != keyid(case.key) for one in good):
        raise Malformed("its envelope holds a signature or a key id that is not this key's")
    if case.envelope.dumps() != body:
        raise Malformed("its envelope is not spelled as fraudloop spells it: somebody wrote it anew")


def _digests(case: _Case) -> None:
    case.digests, case.predicate = read_statement(case.envelope.payload)
    for name in sorted(case.digests.keys() | case.files.keys()):
        if name not in case.files:
            raise Malformed(f"{name} is missing")
        if name not in case.digests:
            raise Malformed(f"{name} was added")
        if sha256(case.files[name]) != case.digests[name]:
            raise Malformed(f"{name} was changed")


def _history(case: _Case) -> None:
    body = case.files.get("history.jsonl", b"")
    entries = links(body)
    if head(body) != case.predicate.get("history"):
        raise Malformed("the history does not end where the statement says")
    versions = [int(entry.get("version", 0)) for entry in entries]
    if any(later <= earlier for earlier, later in pairwise(versions)):
        raise Malformed("the history's entries are not in their order")


def _record(case: _Case) -> None:
    """The parts speak of one decision: run, outcome, and the last entry of the history."""
    run = _json(case.files, "run.json")
    entries = links(case.files.get("history.jsonl", b""))
    told = {
        "the statement": (case.predicate.get("run"), case.predicate.get("outcome")),
        "run.json": (run.get("id"), run.get("state")),
        "the history": (entries[-1].get("run_id"), entries[-1].get("dest")) if entries else (None, None),
    }
    if len(set(told.values())) != 1:
        raise Malformed("; ".join(f"{where} says {run} ended {state}" for where, (run, state) in told.items()))


def _evidence(case: _Case) -> None:
    """Evidence that the run's record has a digest of is that very file."""
    sources = _json(case.files, "evidence.json").get("sources", {})
    names = {uri: name for name, uri in sources.items()}
    for outputs in _json(case.files, "run.json").get("outputs", {}).values():
        for artifact in outputs.values():
            uri, digest = artifact["uri"].rstrip("/"), artifact["sha256"]
            name = names.get(f"{uri}/MANIFEST.json") or names.get(uri)
            if name and digest and sha256(case.files.get(name, b"")) != digest:
                raise Malformed(f"{name} is not the file whose sha256 the run recorded")


def _json(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    try:
        found = json.loads(files.get(name, b"null"))
    except ValueError as error:
        raise Malformed(f"{name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Malformed(f"{name} is missing, or no JSON object")
    return found


CHECKS: dict[str, Callable[[_Case], None]] = {
    "the container": _container,
    "the signature": _signature,
    "the digest of each file": _digests,
    "the chain of the history": _history,
    "one decision in all parts": _record,
    "evidence as it was recorded": _evidence,
}
