"""What keeps other sites and other users of the machine out: headers, hosts and origins, tokens of forms, a key.

CSRF: OWASP's "signed double submit" in its HMAC form. The token is bound to the person, the act, its target and a time,
so one for holding a model approves nothing. Beside it, `Origin` and `Sec-Fetch-Site` must be ours.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

VALID = 3600  # seconds that a form may stay open
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
# A report comes from a stage pod: no script, no form, no request and an origin of its own, whatever is in it.
REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class Tokens:
    """Signs what a form may do. `secret` is one of all instances that serve the same people."""

    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def made(self, subject: str, act: str, target: Mapping[str, str], now: float) -> str:
        """A token for this person, act and target."""
        until = int(now) + VALID
        return f"{until}.{self._signed(subject, act, target, until)}"

    def valid(self, token: str, subject: str, act: str, target: Mapping[str, str], now: float) -> bool:
        """Whether the token was made for exactly this, and is not too old."""
        until, dot, signature = token.partition(".")
        if not dot or not until.isascii() or not until.isdigit() or len(until) > 12 or int(until) < now:
            return False
        return hmac.compare_digest(signature.encode(), self._signed(subject, act, target, int(until)).encode())

    def _signed(self, subject: str, act: str, target: Mapping[str, str], until: int) -> str:
        told = json.dumps([subject, act, sorted(target.items()), until]).encode()
        return hmac.new(self.secret, told, hashlib.sha256).hexdigest()


def own_host(host: str, hosts: Sequence[str]) -> bool:
    """Whether the request names one of our hosts: another name that leads here is a rebound one."""
    return host.lower() in hosts


def own_origin(origin: str, fetch_site: str, origins: Sequence[str]) -> bool:
    """Whether a form was sent by one of our own pages: `Origin`, and `Sec-Fetch-Site` where the browser sends it."""
    return origin in origins and fetch_site in ("", "same-origin")
