"""Who is let in behind a load balancer: whoever its listener authenticated by OIDC, as its signature says.

AWS, "Authenticate users using an Application Load Balancer": the claims come in `x-amzn-oidc-data`, a JWT that the load
balancer signs with ES256. Its header names the key (`kid`, fetched from the Region's public endpoint), the `signer`
(the load balancer's ARN), the `client` and the issuer. Each of these is compared; a header alone proves nothing.
"""

import json
import re
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from werkzeug.exceptions import Forbidden, Unauthorized
from werkzeug.wrappers import Request, Response

from cli.console.people import Person, Role
from statemachine.contracts.errors import Misconfigured
from statemachine.core.characters import clean

CLAIMS = "x-amzn-oidc-data"
LONGEST = 16 * 1024  # characters of the header: a load balancer takes 64 KB of headers in all
KEY_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # it becomes part of a URL
KEY_BYTES = 4096
KEYS_KEPT = 8
NAME_CHARACTERS = 200
Keys = Callable[[str], str]


@dataclass(frozen=True)
class Expected:
    """What the claims must say: the load balancer's ARN, the issuer and the client, and the groups' roles."""

    signer: str
    issuer: str
    client: str
    groups: Mapping[str, frozenset[Role]]
    groups_claim: str = "groups"

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Expected":
        """From FRAUDLOOP_CONSOLE_*. Raises `Misconfigured`; nothing is let in by default."""
        names = {name: f"FRAUDLOOP_CONSOLE_{name.upper()}" for name in ("signer", "issuer", "client", "groups")}
        given = {name: environment.get(variable, "") for name, variable in names.items()}
        if missing := [names[name] for name, value in given.items() if not value]:
            raise Misconfigured(f"{', '.join(missing)} must be set: deploy/aws/console.yaml sets them")
        try:
            groups = {str(group): frozenset({Role(role)}) for group, role in json.loads(given["groups"]).items()}
        except (ValueError, AttributeError) as error:
            wanted = '{"risk": "approver", "ml": "operator", "audit": "viewer"}'
            raise Misconfigured(f"{names['groups']} cannot be read ({error}); it is JSON such as {wanted}") from error
        claim = environment.get("FRAUDLOOP_CONSOLE_GROUPS_CLAIM") or "groups"
        return cls(given["signer"], given["issuer"], given["client"], groups, claim)


@dataclass(frozen=True)
class OidcDoor:
    """People whom the load balancer signed in. `keys` gives the PEM of a key id."""

    expected: Expected
    keys: Keys
    clock: Callable[[], float]

    def person(self, request: Request) -> Person:
        """The person of the claims; without a group of ours, nobody is let in."""
        claims = verified(request.headers.get(CLAIMS, ""), self.expected, self.keys, self.clock())
        roles = _roles(claims.get(self.expected.groups_claim), self.expected.groups)
        if not roles:
            raise Forbidden("You are signed in, but none of your groups may use this console.")
        subject, email = (clean(str(claims.get(name, "")))[:NAME_CHARACTERS] for name in ("sub", "email"))
        return Person(f"{email} (oidc {subject})" if email else f"oidc {subject}", roles, email or subject)

    def enter(self, request: Request) -> Response | None:
        """Nobody enters by a key here."""
        return None


def verified(token: str, expected: Expected, keys: Keys, now: float) -> dict[str, Any]:
    """The claims of a token that our load balancer signed for our client. Raises `Unauthorized`."""
    if not token or len(token) > LONGEST:
        raise Unauthorized("The load balancer has not signed anybody in.")
    try:
        header = jwt.get_unverified_header(token)
        _agrees(header, expected, now)
        options: Any = {"require": ["sub"], "verify_aud": False, "verify_iss": False}
        return dict(jwt.decode(token, keys(header["kid"]), algorithms=["ES256"], options=options))
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
        raise Unauthorized(f"The sign-in cannot be verified: {type(error).__name__}.") from error


def _agrees(header: Mapping[str, Any], expected: Expected, now: float) -> None:
    """Compares the signed header. Raises `ValueError`."""
    wanted = {"alg": "ES256", "signer": expected.signer, "client": expected.client, "iss": expected.issuer}
    for name, value in wanted.items():
        if header.get(name) != value:
            raise ValueError(f"{name} is another")
    if not KEY_ID.fullmatch(str(header.get("kid"))):
        raise ValueError("kid is no key id")
    if not float(header["exp"]) > now:
        raise ValueError("it has expired")


def _roles(claim: Any, groups: Mapping[str, frozenset[Role]]) -> frozenset[Role]:
    """A list of groups, or one text with groups between commas or spaces."""
    names = re.split(r"[,\s]+", claim) if isinstance(claim, str) else claim if isinstance(claim, list) else []
    found: frozenset[Role] = frozenset()
    for name in names:
        found |= groups.get(str(name), frozenset())
    return found


@dataclass(frozen=True)
class RegionKeys:
    """The load balancers' public keys of one Region, fetched when first seen; a few are kept."""

    region: str
    kept: dict[str, str] = field(default_factory=dict)

    def __call__(self, kid: str) -> str:
        """The PEM of that key. Raises `ValueError` where the endpoint does not give one."""
        if kid not in self.kept:
            if len(self.kept) >= KEYS_KEPT:
                self.kept.clear()
            self.kept[kid] = self._fetched(kid)
        return self.kept[kid]

    def _fetched(self, kid: str) -> str:
        url = f"https://public-keys.auth.elb.{self.region}.amazonaws.com/{kid}"
        try:
            with urllib.request.urlopen(url, timeout=3) as answer:
                return bytes(answer.read(KEY_BYTES)).decode("ascii")
        except OSError as error:
            raise ValueError(f"{url} does not answer: {error}") from error
