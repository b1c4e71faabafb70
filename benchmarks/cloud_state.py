"""What the local cloud's stored state costs: `python -m benchmarks.cloud_state [WRITES]`.

Prints ratios of two clouds that get the same requests in turn (the fastest of three turns each), and byte counts.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from local.aws import resources
from local.aws.resources import ARTIFACTS, TABLE, client
from local.footprint import on_disk
from local.process import answers, end, spawn
from training.ports import free_port

BODY = b"x" * 20_000
TURNS = 3


def main(writes: int) -> None:
    """Write, read, kill, start again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        turns = [(_requested(writes, None), _requested(writes, folder / str(turn))) for turn in range(TURNS)]
        for what in turns[0][0]:
            plain, recorded = (min(turn[which][what] for turn in turns) for which in (0, 1))
            print(f"{what:<18} {recorded / plain:5.2f} × without state")
        folder = folder / "0"
        print(f"{'on disk':<18} {on_disk(folder) / (writes * len(BODY)):5.2f} × the objects' bytes")
        print(f"{'start, full':<18} {_started(folder)[1] / _started(None)[1]:5.2f} × an empty one")


def _requested(writes: int, folder: Path | None) -> dict[str, float]:
    (process, url), _ = _started(folder)
    try:
        if folder is None:
            resources.create(url)
        s3, dynamodb = client("s3", url), client("dynamodb", url)
        return {
            "an object": _timed(writes, lambda n: s3.put_object(Bucket=ARTIFACTS, Key=str(n), Body=BODY)),
            "an item": _timed(writes, lambda n: dynamodb.put_item(TableName=TABLE, Item=_key(n))),
            "reading an object": _timed(writes, lambda n: s3.get_object(Bucket=ARTIFACTS, Key=str(n))["Body"].read()),
            "reading an item": _timed(writes, lambda n: dynamodb.get_item(TableName=TABLE, Key=_key(n))),
        }
    finally:
        end(process)


def _key(n: int) -> dict[str, dict[str, str]]:
    return {"pk": {"S": str(n)}, "sk": {"S": "x"}}


def _timed(times: int, call: object) -> float:
    assert callable(call)
    begun = time.monotonic()
    for n in range(times):
        call(n)
    return time.monotonic() - begun


def _started(folder: Path | None) -> tuple[tuple[subprocess.Popen[bytes], str], float]:
    port, begun = free_port(), time.monotonic()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "local.aws.server", str(port), *([str(folder)] if folder else [])]
    process = spawn(command, log=subprocess.DEVNULL)
    while not answers(url):
        time.sleep(0.02)
    return (process, url), time.monotonic() - begun


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
