"""A manifest of all objects under a prefix: what a run trains on when no controller has kept the intake."""

import boto3

from statemachine.contracts.side_files import side_file
from training import storage
from training.outcome import Permanent

FORMAT = 2


def write_manifest(run_id: str, model: str, launch_id: str, data_uri: str, output_uri: str) -> str:
    """Write `manifest.json` for everything under `data_uri` (s3://…) but side files, each being new; returns its URI.

    Raises:
        Permanent: `data_uri` is not in S3, or nothing lies under it.
    """
    if not storage.is_s3(data_uri):
        raise Permanent(f"data_uri is {data_uri!r}; it takes an s3:// prefix")
    bucket, prefix = storage.split(data_uri)
    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    objects = [
        {
            "bucket": bucket,
            "key": entry["Key"],
            "etag": entry["ETag"].strip('"'),
            "version_id": "",
            "size": entry["Size"],
            "new": True,
            "arrived_at": entry["LastModified"].timestamp(),
        }
        for page in pages
        for entry in page.get("Contents", [])
        if entry["Size"] and not side_file(entry["Key"], prefix)
    ]
    if not objects:
        raise Permanent(f"nothing lies under {data_uri}")
    manifest = {"format": FORMAT, "run_id": run_id, "model": model, "epoch": 0, "index": None, "objects": objects}
    uri = storage.join(output_uri, "runs", run_id, "collect", launch_id, "manifest.json")
    storage.write_json(uri, manifest)
    return uri
