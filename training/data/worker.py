"""The process in which objects are converted: a job is a line of JSON on standard input, and so is its answer.

`training.data.conversion` starts it and outlives it. Here a native panic or abort, too much memory or too much time
costs one object. Nothing is imported that reaches beyond this machine's files.
"""

import json
import os
import queue
import resource
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any


def main(memory: int) -> None:
    """Answers one job after another; `memory` limits this process's data, in bytes."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints is no answer
    _limit(resource.RLIMIT_DATA, memory)
    _limit(resource.RLIMIT_CORE, 0)
    from training.data import judging  # only now: what it takes counts

    answers.write(json.dumps({"ready": judging.__name__}) + "\n")
    for job in _jobs():
        answers.write(json.dumps(answer(job)) + "\n")


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _jobs() -> Iterator[dict[str, Any]]:
    """The jobs as they come. The end of the input is the parent's death: then this process ends, whatever it does."""
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            waiting.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield json.loads(waiting.get())


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """The verdict on one raw file; `broken` if this process should not be used again.

    `full` is the disk's own end, `narrow` that of the space which the run was given.
    """
    from statemachine.contracts.object_kind import ObjectKind
    from training.data.bounds import Bounds
    from training.data.checks import Limits
    from training.data.declaration import restored
    from training.data.judging import NO_SPACE, judge_as
    from training.data.unpacking import NoRoom, Unreadable

    limits = Limits(**{**job["limits"], "latest": date.fromisoformat(job["limits"]["latest"])})
    raw, scratch, bounds = Path(job["raw"]), Path(job["scratch"]), Bounds(**job["bounds"])
    _limit(resource.RLIMIT_FSIZE, max(bounds.max_unpacked_bytes, 2 * raw.stat().st_size))  # a Parquet file unpacks too
    try:
        kind, clean = ObjectKind(job["kind"]), Path(job["clean"])
        verdict = judge_as(kind, raw, clean, limits, scratch, bounds, restored(job["data"]))
        return {"verdict": asdict(verdict.cut(bounds))}
    except Unreadable as error:
        return {"problem": asdict(error.problem)}
    except NoRoom as error:
        return {"narrow": str(error)}
    except MemoryError:
        return {"broken": "needs more memory than conversion_memory_bytes allows"}
    except Exception as error:  # noqa: BLE001 — whatever an object makes its conversion raise is that object's verdict
        return {"full": str(error)} if NO_SPACE in str(error) else {"broken": _words(error)}
    except BaseException as error:  # polars' PanicException is none of Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        return {"broken": f"panicked: {_words(error)}"}


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


if __name__ == "__main__":
    main(int(sys.argv[1]))
