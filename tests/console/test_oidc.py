"""Behind a load balancer: whom it signed in, and nobody else; and its events become requests and answers."""

import base64
import json
import time
from typing import Any

import filled
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from visitor import FormFields
from werkzeug.exceptions import Unauthorized

from cli.console import alb
from cli.console.oidc import CLAIMS, Expected, OidcDoor, RegionKeys, verified
from cli.console.people import Role
from cli.console.security import Tokens
from cli.console.site import Site
from statemachine.contracts.errors import Misconfigured
from statemachine.core.approval import subject_digest

HOST = "fraudloop.bank.example"
SIGNER = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/console/50dc6c495c0c9188"
ISSUER, CLIENT = "https://login.bank.example", "console"
KID = "12345678-1234-1234-1234-123456789012"
EXPECTED = Expected(SIGNER, ISSUER, CLIENT, {"risk": frozenset({Role.APPROVER}), "ml": frozenset({Role.OPERATOR}),
                                             "audit": frozenset({Role.VIEWER})})  # fmt: skip
PRIVATE, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
PUBLIC = (
    PRIVATE.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)


def signed(header: dict[str, Any] | None = None, claims: dict[str, Any] | None = None, key: Any = PRIVATE) -> str:
    """A token as the load balancer makes it, with padding; `header` and `claims` change it."""
    told = {"kid": KID, "signer": SIGNER, "client": CLIENT, "iss": ISSUER, "exp": int(time.time()) + 120}
    person = {"sub": "00u1", "email": "risk@bank.example", "groups": ["risk"]} | (claims or {})
    return jwt.encode(person, key, algorithm="ES256", headers=told | (header or {}))


def padded(token: str) -> str:
    """The same token as AWS writes it: each part is padded, and the padded text is what is signed."""
    header, body = (part + "=" * (-len(part) % 4) for part in token.split(".")[:2])
    signature = jwt.get_algorithm_by_name("ES256").sign(f"{header}.{body}".encode(), PRIVATE)
    return f"{header}.{body}.{base64.urlsafe_b64encode(signature).decode()}"


def keys(kid: str) -> str:
    """The Region's key; it has no other."""
    if kid != KID:
        raise ValueError(kid)
    return PUBLIC


def test_a_token_of_our_load_balancer_is_taken():
    """Signature, signer, client, issuer and time hold; padding as AWS writes it does no harm."""
    for token in (signed(), padded(signed())):
        assert verified(token, EXPECTED, keys, time.time())["email"] == "risk@bank.example"


@pytest.mark.parametrize(
    ("header", "claims", "key"),
    [
        ({"signer": SIGNER.replace("console", "other")}, {}, PRIVATE),
        ({"client": "another"}, {}, PRIVATE),
        ({"iss": "https://evil.example"}, {}, PRIVATE),
        ({"exp": int(time.time()) - 1}, {}, PRIVATE),
        ({"exp": "soon"}, {}, PRIVATE),
        ({"exp": None}, {}, PRIVATE),
        ({"kid": "../../evil.example/key"}, {}, PRIVATE),
        ({"kid": KID.upper()}, {}, PRIVATE) if KID.upper() != KID else ({"kid": ""}, {}, PRIVATE),
        ({}, {"exp": int(time.time()) - 1}, PRIVATE),
        ({}, {}, OTHER),
    ],
)
def test_any_other_token_is_refused(header, claims, key):
    """Another load balancer's, client's or issuer's; old; with a key id that is none; signed by somebody else."""
    with pytest.raises(Unauthorized):
        verified(signed(header, claims, key), EXPECTED, keys, time.time())


def test_a_token_whose_algorithm_is_another_is_refused():
    """`none`, and HS256 with the public key as secret, which a careless verifier takes."""
    header, body, _ = signed().split(".")
    told = json.loads(base64.urlsafe_b64decode(header + "=="))
    for algorithm in ("none", "HS256", "es256"):
        changed = base64.urlsafe_b64encode(json.dumps(told | {"alg": algorithm}).encode()).decode().rstrip("=")
        with pytest.raises(Unauthorized):
            verified(f"{changed}.{body}.", EXPECTED, keys, time.time())


def test_every_changed_byte_is_noticed():
    """Of header, claims and signature."""
    token = signed()
    for place in range(0, len(token), 7):
        swapped = "A" if token[place] != "A" else "B"
        changed = token[:place] + swapped + token[place + 1 :]
        if _same(token, changed):
            continue
        with pytest.raises(Unauthorized):
            verified(changed, EXPECTED, keys, time.time())


def _same(one: str, other: str) -> bool:
    """The last character of a part may hold bits that nobody reads."""

    def read(token: str) -> list[bytes]:
        return [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split(".")]

    try:
        return read(one) == read(other)
    except ValueError:
        return False


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é", "x" * 20_000, "..", "e30.e30.e30"])
def test_nonsense_is_refused(token):
    """Without a trace."""
    with pytest.raises(Unauthorized):
        verified(token, EXPECTED, keys, time.time())


def test_settings_that_are_missing_let_nobody_in():
    """Each is named."""
    given = {"FRAUDLOOP_CONSOLE_SIGNER": SIGNER, "FRAUDLOOP_CONSOLE_ISSUER": ISSUER, "FRAUDLOOP_CONSOLE_CLIENT": CLIENT}
    with pytest.raises(Misconfigured, match="FRAUDLOOP_CONSOLE_GROUPS"):
        Expected.read(given)
    for wrong in ("[]", "{", '{"risk": "king"}'):
        with pytest.raises(Misconfigured, match="cannot be read"):
            Expected.read(given | {"FRAUDLOOP_CONSOLE_GROUPS": wrong})
    assert Expected.read(given | {"FRAUDLOOP_CONSOLE_GROUPS": '{"risk": "approver"}'}).groups["risk"] == {Role.APPROVER}


def test_a_regions_key_is_fetched_once_and_a_dead_endpoint_is_no_key(monkeypatch):
    """The address has the Region and the key id, and nothing else of the request."""
    asked = []

    def fetched(self, kid):
        asked.append(kid)
        return PUBLIC

    monkeypatch.setattr(RegionKeys, "_fetched", fetched)
    region = RegionKeys("eu-central-1")
    assert [region(KID), region(KID)] == [PUBLIC, PUBLIC]
    assert asked == [KID]
    for number in range(20):
        region(f"{number:08d}-1234-1234-1234-123456789012")
    assert len(region.kept) <= 8


@pytest.fixture(scope="module")
def site(shared_system):
    """The console as the Lambda serves it."""
    filled.fill(shared_system, past=False)
    door = OidcDoor(EXPECTED, keys, time.time)
    return Site(shared_system, door, (HOST,), (f"https://{HOST}",), tokens=Tokens(b"s" * 32))


def event(path: str, token: str = "", method: str = "GET", body: str = "", **headers: str) -> dict[str, Any]:
    """An event as a load balancer sends it with multi-value headers."""
    path, _, query = path.partition("?")
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    sent = {"host": HOST, "x-forwarded-proto": "https"} | ({CLAIMS: token} if token else {}) | headers
    return {
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:…"}},
        "httpMethod": method,
        "path": path,
        "multiValueQueryStringParameters": {name: [value] for name, _, value in pairs},
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "body": base64.b64encode(body.encode()).decode() if body else "",
        "isBase64Encoded": bool(body),
    }


def page(answer: dict[str, Any]) -> str:
    """The text of an answer."""
    return base64.b64decode(answer["body"]).decode()


def test_a_page_comes_through_the_load_balancer(site):
    """Path and query arrive as they were written; the headers leave in lists."""
    answer = alb.answered(event("/compare?a=fraud-4&b=fraud%2D6", padded(signed())), site)
    assert answer["statusCode"] in (200, 404)
    overview = alb.answered(event("/", padded(signed())), site)
    assert overview["statusCode"] == 200
    assert "risk@bank.example" in page(overview)
    assert overview["multiValueHeaders"]["Cache-Control"] == ["no-store"]
    assert overview["statusDescription"] == "200 OK"


def test_nobody_without_claims_and_nobody_without_a_group(site):
    """The health check asks without, and learns nothing."""
    assert alb.answered(event("/"), site)["statusCode"] == 401
    assert alb.answered(event("/enter?key=k"), site)["statusCode"] == 401
    stranger = signed(claims={"groups": ["cafeteria"]})
    assert alb.answered(event("/", stranger), site)["statusCode"] == 403
    assert page(alb.answered(event("/healthz"), site)) == "ok\n"


def test_groups_give_roles(site):
    """A list, or one text between commas; several groups add up."""
    for groups, status in ((["audit"], 403), ("audit,risk", 200), (["ml"], 403), ({"risk": 1}, 403), (None, 403)):
        token = signed(claims={"groups": groups})
        assert alb.answered(event("/act/reject?run=fraud-6", token), site)["statusCode"] == status, groups


def test_an_approval_goes_on_record_with_the_subject(site):
    """The form comes back through the load balancer; the name holds e-mail and subject."""
    token, digest = signed(), subject_digest(site.app.store.run("fraud-6"))
    fields = FormFields(page(alb.answered(event(f"/act/approve?run=fraud-6&digest={digest}", token), site))).fields
    form = "&".join(f"{name}={value}" for name, value in (fields | {"why": "fine", "sure": "yes"}).items())
    headers = {"content-type": "application/x-www-form-urlencoded", "origin": f"https://{HOST}"}
    other = signed(claims={"sub": "00u2", "email": "bob@bank.example"})
    assert alb.answered(event("/act/approve", other, "POST", form, **headers), site)["statusCode"] == 403
    answer = alb.answered(event("/act/approve", token, "POST", form, **headers), site)
    assert answer["multiValueHeaders"]["Location"] == ["/runs/fraud-6?done=approve"]
    (yes,) = site.app.store.run("fraud-6").approvals
    assert yes.who == "risk@bank.example (oidc 00u1)"


def test_an_answer_beyond_the_load_balancers_limit_says_so():
    """1 MB, its base64 included."""

    def large(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/html")])
        return [b"x" * 800_000]

    answer = alb.answered(event("/"), large)
    assert answer["statusCode"] == 502
    assert "1 MB" in answer["body"]


def test_an_address_with_anything_in_it_is_no_crash(site):
    """Encoded slashes, NULs and bytes that are no UTF-8."""
    for path in ("/runs/%2e%2e%2f", "/runs/%00", "/runs/%ff%fe", "/%E2%82%AC", "//evil.example/x", "/runs/a%2Fb"):
        assert alb.answered(event(path, signed()), site)["statusCode"] in (301, 302, 308, 400, 404), path
