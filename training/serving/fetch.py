"""Fetches one exported version for Triton: `python -m training.serving.fetch s3://…/models/<model>/<version> FOLDER`.

The init container of a Triton pod runs this, and so does the local system. A pod never starts on half an upload or on
changed bytes: the manifest is the last file that export writes, and each file is compared with it.
"""

import argparse
import json
from pathlib import Path

from training import storage
from training.integrity import MANIFEST, Tampered, sha256_file

REPOSITORY = "repository/"


def fetch(version_uri: str, folder: Path) -> Path:
    """Copy the version's model repository into `folder`, which is returned.

    Raises:
        FileNotFoundError: the version was never finished: it has no manifest.
        Tampered: a file is not the one that the manifest names.
    """
    listed: dict[str, str] = json.loads(storage.read_bytes(storage.join(version_uri, MANIFEST)))["files"]
    for name, sha256 in sorted(listed.items()):
        if name.startswith(REPOSITORY):
            file = storage.download(storage.join(version_uri, name), folder / name.removeprefix(REPOSITORY))
            if sha256_file(file) != sha256:
                raise Tampered(f"{version_uri}/{name} is not what {MANIFEST} says; export the version again")
    return folder


def main() -> None:
    """Parse the two arguments, fetch, and say so."""
    parser = argparse.ArgumentParser(description="fetch one exported version for Triton")
    parser.add_argument("version_uri")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    print(f"fetched {arguments.version_uri} into {fetch(arguments.version_uri, arguments.folder)}")


if __name__ == "__main__":
    main()
