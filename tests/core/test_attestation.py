"""Statements and envelopes are those of the specifications, and a chain notices what was taken out or moved."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statemachine.contracts.attestation import (
    DECISION,
    PAYLOAD_TYPE,
    Envelope,
    Signature,
    chained,
    head,
    links,
    pae,
    read_envelope,
    read_statement,
    sha256,
    statement,
)
from statemachine.contracts.errors import Malformed


def test_the_encoding_is_that_of_the_specification():
    """protocol.md, "Test Vectors"; LEN counts bytes, not characters (testvectors: non-ascii-payload-type)."""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("application/vnd.exämple+json", b"").startswith(b"DSSEv1 29 application/vnd.ex\xc3\xa4mple+json 0 ")


def test_an_envelope_of_somebody_else_is_read():
    """envelope.md: unknown fields are ignored, keyid may be missing; protocol.md: either base64 alphabet."""
    body = b"\xfb\xff\xbf>?"
    found = read_envelope(
        json.dumps(
            {"payload": base64.urlsafe_b64encode(body).decode(), "payloadType": "x", "extra": 1,
             "signatures": [{"sig": base64.b64encode(b"s").decode()}]}
        ).encode()
    )  # fmt: skip
    assert found == Envelope(body, "x", (Signature(b"s", ""),))


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"{}", b'{"payload": "!", "payloadType": "x", "signatures": []}',
     b'{"payload": "", "payloadType": "x", "signatures": [{}]}', b"[" * 100_000, b"\xff"],
)  # fmt: skip
def test_what_is_no_envelope_is_malformed(body):
    """In one sentence, whatever it is."""
    with pytest.raises(Malformed, match="no DSSE envelope"):
        read_envelope(body)


@given(st.binary(), st.text(), st.binary(), st.text())
def test_an_envelope_comes_back_as_it_was(payload, kind, sig, keyid):
    """And its spelling is one."""
    made = Envelope(payload, kind, (Signature(sig, keyid),))
    assert read_envelope(made.dumps()) == made
    assert read_envelope(made.dumps()).dumps() == made.dumps()


def test_a_statement_names_each_file_by_its_sha256():
    """statement.md: `_type`, unique names, a digest each, predicateType."""
    body = statement({"b": b"2", "a": b"1"}, {"run": "fraud-1"})
    told = json.loads(body)
    assert told["_type"] == "https://in-toto.io/Statement/v1"
    assert told["predicateType"] == DECISION
    assert [each["name"] for each in told["subject"]] == ["a", "b"]
    assert read_statement(body) == ({"a": sha256(b"1"), "b": sha256(b"2")}, {"run": "fraud-1"})
    assert PAYLOAD_TYPE == "application/vnd.in-toto+json"


def test_a_statement_of_something_else_is_none_of_ours():
    """A signature of the same key under another predicate must not pass for a decision."""
    other = json.loads(statement({}, {})) | {"predicateType": "https://slsa.dev/provenance/v1"}
    with pytest.raises(Malformed, match="expected"):
        read_statement(json.dumps(other).encode())
    twice = json.loads(statement({"a": b""}, {}))
    with pytest.raises(Malformed, match="one name"):
        read_statement(json.dumps(twice | {"subject": twice["subject"] * 2}).encode())


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers()), min_size=2, max_size=6), st.data())
def test_no_line_can_go_or_change_places(records, data):
    """Each line holds the sha256 of the one before; the head tells whether the end is missing."""
    body = chained(records)
    assert links(body) == records
    lines = body.splitlines(keepends=True)
    gone = data.draw(st.integers(0, len(lines) - 1))
    rest = b"".join(lines[:gone] + lines[gone + 1 :])
    if gone == len(lines) - 1:
        assert head(rest) != head(body)
    else:
        with pytest.raises(Malformed, match="does not follow"):
            links(rest)
    first, second = data.draw(st.sampled_from([(n, n + 1) for n in range(len(lines) - 1)]))
    lines[first], lines[second] = lines[second], lines[first]
    with pytest.raises(Malformed, match="does not follow"):
        links(b"".join(lines))
