"""Errors as one sentence with the next step: our own, and those of the vendors' clients that a command can meet.

An error that is not in `TOLD` was not foreseen. It keeps its traceback.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

from botocore import exceptions as aws

from local.state_dir import AlreadyRunning
from local.system import DidNotStart
from statemachine.contracts.errors import FraudloopError
from training.outcome import StageError

LONGEST = 600  # characters of somebody else's message
EXPIRED = {
    "ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId", "InvalidAccessKeyId",
    "UnrecognizedClientException", "SignatureDoesNotMatch", "AuthFailure", "InvalidToken",
}  # fmt: skip
DENIED = {"AccessDenied", "AccessDeniedException", "403", "UnauthorizedOperation", "AuthorizationError"}
LOGIN = "run `aws sso login`, or name a profile that may by AWS_PROFILE"


def sentence(error: BaseException) -> str | None:
    """What was wrong and what to do next; `None` for an error that was not foreseen."""
    causes = list(_causes(error))
    for one in causes:  # whoever wrapped it, a missing credential is told as that
        if isinstance(one, aws.BotoCoreError | aws.ClientError) and (told := _account(one)):
            return told
    return _told(error) or None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _told(error: BaseException) -> str:
    for kinds, tell in TOLD:
        if isinstance(error, kinds):
            return tell(error)
    for root, tell in BY_PACKAGE.items():  # importing them to ask would cost each command two seconds
        if type(error).__module__.split(".")[0] == root:
            return tell(error)
    return ""


def _line(text: str) -> str:
    return " ".join(text.split())


def _short(error: object) -> str:
    return _line(str(error))[:LONGEST] or type(error).__name__


# -- AWS ------------------------------------------------------------------------------------------------------------


def _account(error: Any) -> str:
    """Region, credentials, network: what is wrong on this side, whatever was asked for; "" for all else."""
    if isinstance(error, aws.NoRegionError):
        return "no AWS region is named: set AWS_REGION, as in `export AWS_REGION=eu-central-1`."
    if isinstance(error, aws.ProfileNotFound):
        return f"{_short(error)}: name one of `aws configure list-profiles` by AWS_PROFILE."
    if isinstance(error, CREDENTIALS):
        return f"AWS knows no credentials here: {LOGIN}."
    if isinstance(error, aws.HTTPClientError | aws.ConnectionError):
        return _unreachable(error)
    if isinstance(error, aws.ClientError) and _code(error) in EXPIRED:
        return f"AWS does not take these credentials ({_code(error)}): {LOGIN}."
    if isinstance(error, aws.ClientError) and _code(error) in DENIED:
        return f"not allowed: {_short(error)}; attach the stack's OperatorPolicyArn to yourself (docs/security.md)."
    return ""


CREDENTIALS = (
    aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError, aws.TokenRetrievalError,
    aws.SSOError, aws.NoAuthTokenError,
)  # fmt: skip


def _unreachable(error: Any) -> str:
    where = error.kwargs.get("endpoint_url") or os.environ.get("AWS_ENDPOINT_URL") or "AWS"
    if os.environ.get("AWS_ENDPOINT_URL"):
        return f"nothing answers at {where}: is the system up that AWS_ENDPOINT_URL names? `fraudloop up` starts one."
    return f"{where} does not answer: is there a network, and is AWS_REGION right? `fraudloop doctor` asks each part."


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _aws(error: Any) -> str:
    return f"AWS: {_short(error)}; `fraudloop doctor` asks each part of the deployment."


# -- files, networks, clusters ----------------------------------------------------------------------------------------


def _os(error: Any) -> str:
    if isinstance(error, BrokenPipeError):  # `… | head` has read enough: click ends quietly
        return ""
    if error.filename is not None:
        return f"{error.filename}: {(error.strerror or type(error).__name__).lower()}; name a file that can be used."
    return f"a connection failed ({_short(error)}); `fraudloop doctor` asks each part of the deployment."


def _kfp(error: Any) -> str:
    status = getattr(error, "status", 0)
    if not status:
        return _no_kfp(error)
    do = "is FRAUDLOOP_KFP_TOKEN right?" if status in (401, 403) else "`fraudloop doctor` asks it."
    return f"KFP answers {status} {_line(str(error.reason or ''))[:LONGEST]}; {do}"


def _no_kfp(error: Any) -> str:
    return f"KFP does not answer ({_short(error)}): is FRAUDLOOP_KFP_URL right? `fraudloop doctor` asks it."


def _kubernetes(error: Any) -> str:
    if getattr(error, "status", 0):
        return f"the cluster answers {error.status} {error.reason}; `fraudloop doctor` asks for your rights in it."
    return f"no cluster is named ({_short(error)}): `aws eks update-kubeconfig --name CLUSTER` names one."


def _http(error: Any) -> str:
    pool = getattr(error, "pool", None)
    if pool is not None:
        return f"nothing answers at {pool.scheme}://{pool.host}:{pool.port}; `fraudloop doctor` asks each endpoint."
    return f"no answer over HTTP ({_short(error)}); `fraudloop doctor` asks each part of the deployment."


def _store(error: Any) -> str:
    return f"the online store: {_short(error)}; are FRAUDLOOP_LIVE_URL and FRAUDLOOP_LIVE_PASSWORD right?"


TOLD: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    (DidNotStart, str),  # with the end of a part's log
    (StageError, lambda error: _line(error.reason)),
    ((FraudloopError, AlreadyRunning, FileExistsError), _short),
    ((aws.BotoCoreError, aws.ClientError), _aws),
    (OSError, _os),
)
BY_PACKAGE: dict[str, Callable[[Any], str]] = {
    "boto3": _aws,
    "kfp_server_api": _kfp,
    "kfp": _no_kfp,
    "kubernetes": _kubernetes,
    "urllib3": _http,
    "requests": _http,
    "valkey": _store,
}
