"""One object's bytes, exactly those that were judged; and whose trouble it is if they cannot be had.

S3's answers fall into three kinds. What is gone, archived or replaced is this object's own trouble. Throttling, 5xx and
credentials say nothing about the object and are raised as they are. Any other refusal (403, a KMS key) is the object's
own only if another object of its bucket can be read: otherwise it is the role's, or the bucket's, and no data is bad.
"""

from collections.abc import Collection, Iterable
from itertools import islice
from pathlib import Path

from botocore.exceptions import ClientError

from training import storage
from training.data.checks import Problem
from training.data.source import Source
from training.outcome import Permanent

GONE = frozenset({"404", "NoSuchKey", "NoSuchVersion", "NotFound", "405", "MethodNotAllowed"})  # 405: a delete marker
REPLACED = frozenset({"412", "PreconditionFailed"})
DENIED = frozenset({"403", "AccessDenied", "Forbidden"})
ARCHIVED = frozenset({"InvalidObjectState"})
PASSING = frozenset(
    {
        *("408", "429", "RequestTimeout", "RequestTimeTooSkewed", "RequestExpired", "OperationAborted"),
        *("SlowDown", "Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"),
        *("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"),
        *("InvalidAccessKeyId", "SignatureDoesNotMatch", "KMS.ThrottlingException", "KMS.KMSInternalException"),
    }
)
PROBES = 5  # other objects of a bucket that are tried before its refusals are taken for the role's


class Lost(Exception):
    """The object cannot be had, and it is its own trouble: `problem` says why."""

    def __init__(self, found: str, expected: str) -> None:
        self.problem = Problem(0, "", found, expected)
        super().__init__(found)


class Denied(Lost):
    """S3 refuses the object: its own trouble only if another object of its bucket can be read."""


def fetch(source: Source, path: Path) -> storage.Fetched:
    """The bytes of a source at `path`; a local file stays where it is.

    Raises:
        Lost: they cannot be had, for a reason of the object's own, or are others by now.
        ClientError: failing to look says nothing about the object.
    """
    if not storage.is_s3(source.uri):
        if not Path(source.uri).is_file():
            raise Lost("no such file", "a file")
        return storage.Fetched(Path(source.uri), source.etag, "", "")
    try:
        found = storage.fetch(source.uri, path, source.version_id, source.etag)
    except ClientError as error:
        raise _lost(source, error) from error
    if source.etag and found.etag != source.etag:
        raise _replaced(source, found.etag)
    return found


def _lost(source: Source, error: ClientError) -> Exception:
    """What S3's answer means for the object; the answer itself if it means nothing."""
    told = error.response.get("Error", {})
    code, words = str(told.get("Code", "")), str(told.get("Message", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in GONE:
        version = f"version {source.version_id} is gone" if source.version_id else "it is gone"
        return Lost(f"{version} ({code})", "an object that is there")
    if code in REPLACED:
        return _replaced(source, "another")
    if code in ARCHIVED:
        return Lost(f"archived, as in Glacier ({code}: {words})", "an object that was restored")
    if code in PASSING or not 400 <= status < 500:
        passing: Exception = error
        return passing
    return Denied(f"{code}: {words}", "an object that the stage may read")


def is_denied(error: ClientError) -> bool:
    """Whether S3 said 403 for other reasons than the credentials' age."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code in DENIED


def _replaced(source: Source, etag: str) -> Lost:
    return Lost(f"etag {etag}: overwritten since", f"the object with etag {source.etag}")


def refuse_if_nothing_is_readable(
    denied: Iterable[tuple[Source, Denied]], readable: Collection[str], others: Iterable[Source]
) -> None:
    """Tells the objects' trouble from the role's: `others` are tried in a bucket of which nothing was read yet.

    Raises:
        Permanent: no object of one of the buckets can be read; it names the permissions.
    """
    others = list(others)
    for bucket, refusal in {storage.split(source.uri)[0]: refusal for source, refusal in denied}.items():
        tried = islice((each for each in others if storage.split(each.uri)[0] == bucket), PROBES)
        if bucket not in readable and not any(_is_readable(each) for each in tried):
            raise Permanent(
                f"no object of s3://{bucket} can be read ({refusal.problem.found}): the stage's role needs "
                f"s3:GetObject and s3:GetObjectVersion on arn:aws:s3:::{bucket}/*, and kms:Decrypt on the key if the "
                "objects are encrypted with one; no object was judged"
            )


def _is_readable(source: Source) -> bool:
    try:
        storage.touch(source.uri, source.version_id)
    except ClientError as error:
        told = _lost(source, error)
        if told is error:
            raise
        return False
    return True
