"""The console as a Lambda behind an internal load balancer: its events become WSGI requests and answers.

AWS, "Use Lambda functions as targets of an Application Load Balancer": path and query come as the browser wrote them
(encoded), bodies of other types than text in base64; request and answer have at most 1 MB. The target group sends
multi-value headers, so that nothing is lost.
"""

import base64
import io
import os
import sys
import time
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from werkzeug.datastructures import Headers
from werkzeug.test import run_wsgi_app

from cli.connection import application
from cli.console.oidc import Expected, OidcDoor, RegionKeys
from cli.console.security import Tokens
from cli.console.site import FORM_BYTES, Site
from statemachine.adapters.secrets import Secret
from statemachine.contracts.errors import Misconfigured

MOST = 1_000_000 - 4096  # bytes of an answer, its base64 and headers included


@lru_cache
def site() -> Site:
    """The console that the environment describes. Raises `Misconfigured`."""
    app, host = application(), os.environ.get("FRAUDLOOP_CONSOLE_HOST", "").lower()
    secret = Secret(name=os.environ.get("FRAUDLOOP_CONSOLE_SECRET", ""), client=lambda: app.client("secretsmanager"))()
    if not host or len(secret) < 32:
        raise Misconfigured("FRAUDLOOP_CONSOLE_HOST and FRAUDLOOP_CONSOLE_SECRET must be set: deploy/aws/console.yaml")
    door = OidcDoor(Expected.read(os.environ), RegionKeys(os.environ["AWS_REGION"]), time.time)
    return Site(app, door, hosts=(host,), origins=(f"https://{host}",), tokens=Tokens(secret.encode()))


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """The answer to one request of the load balancer."""
    return answered(event, site())


def answered(event: Mapping[str, Any], application: Any) -> dict[str, Any]:
    """Run the WSGI application on the event of a load balancer."""
    body, status, headers = run_wsgi_app(application, environ(event), buffered=True)
    content = b"".join(body)
    encoded = base64.b64encode(content)
    if len(encoded) > MOST:
        return _plain(502, "This page has more than the 1 MB that a load balancer takes of a function.")
    return {
        "statusCode": int(status.split()[0]),
        "statusDescription": status,
        "multiValueHeaders": _grouped(headers),
        "isBase64Encoded": True,
        "body": encoded.decode(),
    }


def environ(event: Mapping[str, Any]) -> dict[str, Any]:
    """The WSGI environment (PEP 3333) of an event."""
    headers = {name.lower(): values[-1] for name, values in (event.get("multiValueHeaders") or {}).items() if values}
    query = "&".join(
        f"{name}={value}"
        for name, values in (event.get("multiValueQueryStringParameters") or {}).items()
        for value in values
    )
    text = event.get("body") or ""
    body = base64.b64decode(text) if event.get("isBase64Encoded") else text.encode()
    body = body[: FORM_BYTES + 1]  # the site refuses what is longer
    made = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    return made | {
        "REQUEST_METHOD": str(event["httpMethod"]),
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(str(event["path"])).encode().decode("latin-1"),
        "QUERY_STRING": query,
        "CONTENT_TYPE": headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": headers.get("host", ""),
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def _grouped(headers: Headers) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in headers.items():
        grouped.setdefault(name, []).append(value)
    return grouped


def _plain(code: int, text: str) -> dict[str, Any]:
    headers = {"Content-Type": ["text/plain; charset=utf-8"]}
    status = f"{code} {HTTPStatus(code).phrase}"
    return {"statusCode": code, "statusDescription": status, "multiValueHeaders": headers, "body": text}
