"""`training.data.worker`, except that an object whose first line is a keyword makes the process fail in that way."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from training.data import worker


def deadly(job: dict[str, Any], answer=worker.answer) -> dict[str, Any]:
    raw = Path(job["raw"])
    match raw.read_bytes()[:16].split(b"\n")[0]:
        case b"KILL":
            os.kill(os.getpid(), signal.SIGKILL)
        case b"KILL ONCE":
            mark = raw.with_name("killed.once")
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            raw.write_bytes(raw.read_bytes().partition(b"\n")[2])
        case b"ABORT":
            os.abort()
        case b"EXIT":
            os._exit(3)
        case b"SLEEP":
            time.sleep(600)
        case b"ALLOCATE":
            return with_too_much(job, answer)
        case b"PRINT":
            print("a library talks")
            os.write(1, b"and so does native code\n")
    return answer(job)


def with_too_much(job: dict[str, Any], answer) -> dict[str, Any]:
    """As if the conversion allocated 64 GiB: the process's limit raises Python's MemoryError."""
    from training.data import judging

    setattr(judging, "judge", lambda *_: bytearray(64 * 1024**3))  # noqa: B010 — mypy: it is no verdict
    return answer(job)


worker.answer = deadly
worker.main(int(sys.argv[1]))
