"""Fetches one exported version for Triton: `python -m training.serving.fetch s3://…/models/<model>/<version> FOLDER`.

The init container of a Triton pod runs this, and so does the local system. Export writes the manifest last, and `fetch`
compares each file with it. So a pod never starts with an incomplete upload or with changed files.
"""

import argparse
from pathlib import Path

from training import storage
from training.integrity import MANIFEST, Tampered, listed, sha256_file

REPOSITORY = "repository/"


def fetch(version_uri: str, folder: Path) -> Path:
    """Copies the version's model repository into `folder`. Returns `folder`.

    Raises:
        FileNotFoundError: the version has no manifest, so its export did not finish.
        Tampered: a file differs from the manifest.
    """

    def copy(name: str, sha256: str) -> None:
        file = storage.download(storage.join(version_uri, name), folder / name.removeprefix(REPOSITORY))
        if sha256_file(file) != sha256:
            raise Tampered(f"{version_uri}/{name} is not what {MANIFEST} says; export the version again")

    storage.at_once(copy, [one for one in sorted(listed(version_uri).items()) if one[0].startswith(REPOSITORY)])
    return folder


def main() -> None:
    """Fetches the version that the command line names."""
    parser = argparse.ArgumentParser(description="fetch one exported version for Triton")
    parser.add_argument("version_uri")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    print(f"fetched {arguments.version_uri} into {fetch(arguments.version_uri, arguments.folder)}")


if __name__ == "__main__":
    main()
