"""Bytes in S3 or, for tests and `fraudloop train`, in local files: one address form for both."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


def read_bytes(uri: str) -> bytes:
    """All of the object or file. Raises FileNotFoundError (local) or ClientError (S3)."""
    if not uri.startswith("s3://"):
        return Path(uri).read_bytes()
    body: bytes = _s3().get_object(**_place(uri))["Body"].read()
    return body


def write_bytes(uri: str, data: bytes) -> None:
    """Write the object or file, replacing it; folders are made."""
    if uri.startswith("s3://"):
        _s3().put_object(**_place(uri), Body=data)
        return
    path = Path(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def exists(uri: str) -> bool:
    """Whether there is an object or a file of exactly this name (a folder does not count)."""
    if not uri.startswith("s3://"):
        return Path(uri).is_file()
    from botocore.exceptions import ClientError

    try:
        _s3().head_object(**_place(uri))
    except ClientError as error:
        if error.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}:
            return False
        raise
    return True


def _place(uri: str) -> dict[str, str]:
    parts = urlsplit(uri)
    return {"Bucket": parts.netloc, "Key": parts.path.lstrip("/")}


def _s3() -> Any:
    import boto3

    return boto3.client("s3")
