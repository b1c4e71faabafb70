"""Files in S3."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from statemachine.contracts.errors import Denied, Malformed, Misconfigured, Unreachable
from statemachine.core.window import Object

GONE = frozenset({"NoSuchKey", "NoSuchBucket", "404", "NotFound"})
DENIED = frozenset({"AccessDenied", "403", "Forbidden", "InvalidObjectState"})  # and all that KMS refuses
NO_URI = frozenset({"InvalidBucketName", "KeyTooLongError", "InvalidURI"})


@dataclass(frozen=True)
class S3Files:
    """`Files` on a boto3 S3 client."""

    client: Any

    def read(self, uri: str, limit: int) -> bytes | None:
        """At most `limit` + 1 bytes, so that the reader can tell "too large" without taking it all."""
        bucket, key = split(uri)
        try:
            answer = self.client.get_object(Bucket=bucket, Key=key)
            with answer["Body"] as stream:
                body = bytes(stream.read(limit + 1))
        except ClientError as error:
            if error.response["Error"]["Code"] in GONE:
                return None
            raise _refusal(uri, error) from error
        except ParamValidationError as error:
            raise Malformed(f"{uri[:300]} is no S3 URI: {error}") from error
        except (BotoCoreError, OSError) as error:
            raise Unreachable(f"reading {uri}: {error}") from error
        if len(body) < min(answer["ContentLength"], limit + 1):  # a partial read does not raise by itself
            raise Unreachable(f"reading {uri}: the connection ended after {len(body)} bytes")
        return body

    def write(self, uri: str, body: bytes) -> None:
        """Write it whole."""
        bucket, key = split(uri)
        try:
            self.client.put_object(Bucket=bucket, Key=key, Body=body)
        except ClientError as error:
            code = str(error.response["Error"]["Code"])
            kind = Misconfigured if _is_denied(code) or code == "NoSuchBucket" else Unreachable
            raise kind(f"writing {uri}: {error}") from error
        except BotoCoreError as error:
            raise Unreachable(f"writing {uri}: {error}") from error

    def list(self, bucket: str, prefix: str, after: str = "") -> Iterator[Object]:
        """The present objects under a prefix, page by page; a listing has no version ids and no sequencers."""
        begin = {"StartAfter": after} if after else {}
        try:
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **begin):
                for found in page.get("Contents", []):
                    yield Object(
                        bucket=bucket,
                        key=found["Key"],
                        etag=found["ETag"].strip('"'),
                        size=int(found["Size"]),
                        arrived_at=found["LastModified"].timestamp(),
                    )
        except (ClientError, BotoCoreError) as error:
            raise Unreachable(f"listing s3://{bucket}/{prefix}: {error}") from error


def _refusal(uri: str, error: ClientError) -> Denied | Malformed | Unreachable:
    code, message = str(error.response["Error"]["Code"]), f"reading {uri[:300]}: {error}"
    if _is_denied(code):
        return Denied(message)
    return Malformed(message) if code in NO_URI else Unreachable(message)


def _is_denied(code: str) -> bool:
    return code in DENIED or code.startswith("KMS.")


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of an `s3://` URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
