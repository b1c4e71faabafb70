"""The audit file: complete for every outcome, checked offline, and no byte of it can change unnoticed."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import boto3
import pytest
from botocore.stub import Stubber
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from judged_runs import dataset, evaluation, judged

from cli.audit.container import ENVELOPE, pack, unpack
from cli.audit.decision import seal
from cli.audit.keys import FileKey, KmsKey, holds, keyid
from cli.audit.verify import CHECKS, verify
from statemachine.contracts.attestation import (
    PAYLOAD_TYPE,
    Envelope,
    Signature,
    canonical,
    chained,
    head,
    pae,
    statement,
)
from statemachine.contracts.errors import Malformed, Misconfigured
from statemachine.core.reason import TransitionReason

ROOT = Path(__file__).parents[2]
KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


def small(**changes: bytes) -> dict[str, bytes]:
    """The files of a decision, no larger than they must be."""
    history = chained([{"run_id": "fraud-1", "version": n, "dest": d} for n, d in ((1, "QUEUED"), (2, "REJECTED"))])
    run = {"id": "fraud-1", "state": "REJECTED", "outputs": {}}
    files = {"run.json": canonical(run), "history.jsonl": history, "evidence.json": canonical({"sources": {}})}
    return files | changes


def told(files: dict[str, bytes]) -> dict[str, str]:
    return {"run": "fraud-1", "outcome": "REJECTED", "history": head(files["history.jsonl"])}


def reordered() -> bytes:
    """A history whose chain is right and whose versions are not."""
    return chained([{"run_id": "fraud-1", "version": n, "dest": "REJECTED"} for n in (2, 1)])


def sealed(files: dict[str, bytes] | None = None, **predicate: str) -> bytes:
    files = files or small()
    return pack(seal(files, told(files) | predicate, FileKey(KEY)))


def problem(body: bytes, key=None) -> str:
    """The first check that failed, with its problem; "" if all held."""
    found = verify(body, key or KEY.public_key())
    assert found.holds == (not found.findings[-1].problem)
    return "" if found.holds else f"{found.findings[-1].check}: {found.findings[-1].problem}"


def test_an_unchanged_file_holds():
    """All checks were made."""
    found = verify(sealed(), KEY.public_key())
    assert [each.check for each in found.findings] == list(CHECKS)
    assert (found.holds, found.predicate["run"]) == (True, "fraud-1")


@pytest.mark.parametrize("flip", [0x01, 0x20, 0xFF])
def test_every_byte_counts(flip):
    """Each single byte of the file, changed three ways: contents, names, headers, dates, base64, the key's id."""
    body = bytearray(sealed())
    unnoticed = []
    for position in range(len(body)):
        body[position] ^= flip
        unnoticed += [] if problem(bytes(body)) else [position]
        body[position] ^= flip
    assert unnoticed == []
    assert len(body) > 1500


@cache
def one_file() -> bytes:
    """The same for every example: a signature is random, and so is its length."""
    return sealed()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_nothing_can_be_added_taken_or_moved(data):
    """Cuts, insertions and swaps of spans, anywhere in the file."""
    body = one_file()
    a, b, c, d = sorted(data.draw(st.lists(st.integers(0, len(body)), min_size=4, max_size=4)))
    changed = {
        "cut": body[:a] + body[b:],
        "insert": body[:a] + data.draw(st.binary(min_size=1, max_size=20)) + body[a:],
        "repeat": body[:b] + body[a:],
        "swap": body[:a] + body[c:d] + body[b:c] + body[a:b] + body[d:],
    }[data.draw(st.sampled_from(["cut", "insert", "repeat", "swap"]))]
    assert changed == body or problem(changed)


def resigned(files: dict[str, bytes], envelope: Envelope) -> bytes:
    return pack({**files, ENVELOPE: envelope.dumps()})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda: pack(unpack(sealed()) | {"run.json": b"{}"}), "the digest of each file: run.json was changed"),
        (lambda: pack(unpack(sealed()) | {"more": b""}), "the digest of each file: more was added"),
        (lambda: pack({n: b for n, b in unpack(sealed()).items() if n != "run.json"}), "run.json is missing"),
        (lambda: pack({n: b for n, b in unpack(sealed()).items() if n != ENVELOPE}), "holds no envelope.json"),
        (lambda: pack(seal(small(), told(small()), FileKey(OTHER))), "the signature: no signature in it is that of"),
        (lambda: sealed() + b"\0", "the container: "),
        (lambda: b"", "the container: "),
        (lambda: sealed(outcome="SUCCEEDED"), "one decision in all parts: the statement says fraud-1 ended SUCCEEDED"),
        (lambda: sealed(run="fraud-2"), "one decision in all parts"),
        (lambda: sealed(history="0"), "the chain of the history: the history does not end where"),
        (
            lambda: sealed(small(**{"history.jsonl": small()["history.jsonl"].splitlines(keepends=True)[1]})),
            "the chain of the history: line 1 does not follow",
        ),
        (
            lambda: sealed(small(**{"history.jsonl": reordered()})),
            "the chain of the history: the history's entries are not in their order",
        ),
    ],
)  # fmt: skip
def test_what_was_done_is_named(change, expected):
    """Also for a file that is well signed and does not agree with itself."""
    assert expected in problem(change())


def test_a_signature_for_another_purpose_does_not_pass():
    """The payload's type is signed with it, and another predicate of the same key is no decision."""
    files = small()
    body = statement(files, told(files))
    other = Envelope(body, "application/x", (Signature(FileKey(KEY).sign(pae("application/x", body)), ""),))
    assert "expected application/vnd.in-toto+json" in problem(resigned(files, other))
    swapped = Envelope(body, PAYLOAD_TYPE, other.signatures)
    assert "no signature in it" in problem(resigned(files, swapped))
    foreign = json.dumps(json.loads(body) | {"predicateType": "https://slsa.dev/provenance/v1"}).encode()
    signed = Envelope(
        foreign, PAYLOAD_TYPE, (Signature(FileKey(KEY).sign(pae(PAYLOAD_TYPE, foreign)), keyid(KEY.public_key())),)
    )
    assert "expected https://in-toto.io/Statement/v1 about" in problem(resigned(files, signed))


def test_evidence_is_held_against_the_record():
    """A file whose digest the run recorded is that file, even where whoever signed packed another."""
    run = {"id": "fraud-1", "state": "REJECTED",
           "outputs": {"evaluate": {"evaluation": {"uri": "s3://a/e.json", "sha256": "ab" * 32}}}}  # fmt: skip
    sources = {"sources": {"evidence/e.json": "s3://a/e.json"}}
    files = small(**{"run.json": canonical(run), "evidence.json": canonical(sources), "evidence/e.json": b"{}"})
    assert problem(sealed(files)) == (
        "evidence as it was recorded: evidence/e.json is not the file whose sha256 the run recorded"
    )


def test_a_compressed_or_huge_zip_is_refused_unread(tmp_path):
    """A bomb costs its own size."""
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("x", b"0" * 10_000_000)
    assert "compressed" in problem((tmp_path / "b.zip").read_bytes())
    with pytest.raises(Malformed, match="too large"):
        unpack(pack({str(number): b"" for number in range(2001)}))


# -- the commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path):
    """A private and a public key in files."""
    private, public = tmp_path / "key.pem", tmp_path / "pub.pem"
    private.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(private), str(public)


REJECTED = [
    ("QUEUED", 0, TransitionReason.ARRIVAL, "an object"),
    ("PREPROCESSING", 1, TransitionReason.FROM_PREPROCESS, ""),
    ("TRAINING", 11, TransitionReason.PREPROCESSED, ""),
    ("EVALUATING", 101, TransitionReason.REPORTED, ""),
    ("REJECTED", 111, TransitionReason.FAILED_GATE, "auc_roc 0.88 is below 0.9"),
]


@pytest.mark.parametrize("path", [None, REJECTED], ids=["released", "rejected"])
def test_a_decision_becomes_a_file_that_holds(system, fraudloop, keys, tmp_path, path):
    """With what it was made of: data, code, gate, history; whoever has the public key needs nothing else."""
    more = {"path": path} if path else {}
    run = judged(system, 1, evaluation(0.96, 0.4), dataset("d1", 30_000), "c0ffee", **more)
    out = tmp_path / "fraud-1.zip"
    made = fraudloop("audit", run.id, "--out", str(out), "--key", keys[0])
    assert made.exit_code == 0, made.output
    files = unpack(out.read_bytes())
    inputs, build = json.loads(files["inputs.json"]), json.loads(files["build.json"])
    assert (inputs["data_sha256"], inputs["rows"], inputs["last"]) == ("d1", 30_000, 1_580_428_800)
    assert [each["code_version"] for each in build["launches"]] == ["c0ffee"]
    assert build["launches"][0]["outputs_used"] is True
    assert json.loads(files["identity.json"])["outcome"] == run.state.value
    assert any(name.endswith("/evaluation.json") for name in files)
    checked = fraudloop("audit", "verify", str(out), "--key", keys[1])
    assert checked.exit_code == 0, checked.output
    assert f"fraud-1 ended {run.state.value}" in checked.output


def test_a_device_without_an_end_is_not_read(fraudloop, keys):
    """Its size says 0, so the limit on the size does not hold it back."""
    checked = fraudloop("audit", "verify", "/dev/zero", "--key", keys[1])
    assert checked.exit_code == 1
    assert "no file that can be checked" in checked.stderr


def test_checking_needs_no_account(system, fraudloop, keys, tmp_path):
    """A process without any setting of fraudloop or AWS, on a file that came by mail; then the file is changed."""
    judged(system, 1, evaluation(0.96, 0.4), dataset("d1", 30_000), "c0ffee")
    out = tmp_path / "a.zip"
    fraudloop("audit", "fraud-1", "--out", str(out), "--key", keys[0])
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    command = [sys.executable, "-m", "cli.main", "audit", "verify", str(out), "--key", keys[1], "--json"]
    ran = subprocess.run(command, cwd=ROOT, env=bare, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["holds"] is True
    body = out.read_bytes()
    assert b"0.96" in body
    out.write_bytes(body.replace(b"0.96", b"0.97"))
    ran = subprocess.run(command, cwd=ROOT, env=bare, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["holds"] is False


def test_what_cannot_be_had_is_named(system, fraudloop, keys, tmp_path):
    """Intermediate files expire; the audit file says which ones it lacks, and why."""
    run = judged(system, 1, evaluation(0.96, 0.4), dataset("d1", 30_000), "c0ffee")
    bucket, _, key = run.outputs["evaluate"]["evaluation"].uri.removeprefix("s3://").partition("/")
    boto3.client("s3").delete_object(Bucket=bucket, Key=key)
    out = tmp_path / "a.zip"
    assert fraudloop("audit", "fraud-1", "--out", str(out), "--key", keys[0]).exit_code == 0
    missing = json.loads(unpack(out.read_bytes())["evidence.json"])["missing"]
    assert "it is not there" in missing[f"s3://{bucket}/{key}"]


def test_what_no_check_would_take_is_not_written(system, fraudloop, keys, tmp_path, monkeypatch):
    """A file beyond the check's own limits would be evidence of nothing."""
    judged(system, 1, evaluation(0.96, 0.4), dataset("d1", 30_000), "c0ffee")
    monkeypatch.setattr("cli.audit.container.MOST_FILES", 3)
    out = tmp_path / "a.zip"
    made = fraudloop("audit", "fraud-1", "--out", str(out), "--key", keys[0])
    assert made.exit_code == 1
    assert "too large" in made.output
    assert not out.exists()


def test_a_run_that_is_not_over_has_no_audit_file(system, fraudloop, keys, tmp_path):
    """Nothing is decided yet; and no file is left behind."""
    judged(system, 1, evaluation(0.96, 0.4), dataset("d1", 30_000), "c0ffee", path=REJECTED[:3])
    out = tmp_path / "a.zip"
    ran = fraudloop("audit", "fraud-1", "--out", str(out), "--key", keys[0])
    assert ran.exit_code == 1
    assert "it is over" in str(ran.exception) + ran.output
    assert list(tmp_path.glob("*.zip*")) == []


def test_kms_signs_like_a_file():
    """KMS' API reference, Sign: a DIGEST is signed as it is, and an ECDSA signature comes DER-encoded (RFC 3279).

    Not moto's KMS, which hashes the digest once more.
    """
    client = boto3.client("kms", region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")
    message = b"x" * 10_000  # more than KMS takes as a message
    digest = hashlib.sha256(message).digest()
    public = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    asked = {"KeyId": "alias/audit", "Message": digest, "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"}
    with Stubber(client) as stub:
        stub.add_response("sign", {"Signature": KEY.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))}, asked)
        stub.add_response("get_public_key", {"PublicKey": public}, {"KeyId": "alias/audit"})
        stub.add_client_error("sign", "UnsupportedOperationException", "is not valid for this key")
        signer = KmsKey(client, "alias/audit")
        assert holds(KEY.public_key(), message, signer.sign(message))
        assert signer.keyid == keyid(KEY.public_key())
        with pytest.raises(Misconfigured, match="ECC_NIST_P256"):
            signer.sign(message)
