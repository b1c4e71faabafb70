"""Invokes the handlers as AWS would: `python -m local.aws.dispatcher PORT LOGS TICK_SECONDS`.

Routes: S3 objects → arrivals queue → `arrival`. Hints queue → `step`, one message per invocation, two at once. The
table's stream → `announce`. A timer → `tick`. The Invoke API → any function, such as `nightly`. The environment is
that of the handlers: AWS_ENDPOINT_URL and the FRAUDLOOP_… variables.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from local.aws import resources, template
from local.aws.invoke_api import RETRY_AFTER, Asynchronous, InvokeApi
from local.aws.lambda_runtime import Function, Pool
from local.aws.object_events import ObjectEvents
from local.aws.queue_source import QueueSource
from local.aws.resources import ACCOUNT, ANNOUNCE_DLQ, ARRIVALS, ASYNC_DLQ, HINTS, REGION, S3_EVENTS
from local.aws.schedule import every
from local.aws.stream_source import StreamSource

PREFIX = "fraudloop-"
# As many as this machine can run, not as many as template.yaml allows. Nightly invocations can overlap, as on AWS.
CONCURRENCY = {"step": 2, "nightly": 2}

Loop = Callable[[threading.Event], object]


def functions(package: str = "handlers") -> list[Function]:
    """Returns the five functions with their settings in template.yaml."""
    return [
        Function(PREFIX + n, f"{package}.{n}.handler", template.function(n).timeout, CONCURRENCY.get(n, 1))
        for n in template.NAMES
    ]


class Dispatcher:
    """Runs the event sources and the functions in threads until it is closed."""

    def __init__(self, url: str, port: int, logs: Path, tick_seconds: float, package: str = "handlers") -> None:
        self._stop = threading.Event()
        self._sqs = resources.client("sqs", url)
        self.pools = {function.name: Pool(function, logs) for function in functions(package)}
        pauses = RETRY_AFTER[: template.function("nightly").retries]
        self._asynchronous = Asynchronous(self._to_dead_letter(ASYNC_DLQ), pauses)
        self._api = InvokeApi(port, {name: pool.invoke for name, pool in self.pools.items()}, self._asynchronous)
        self._threads = [self._thread(loop) for loop in self._loops(url, tick_seconds)]

    def close(self) -> None:
        """Stop polling, wait for the running invocations, and end the sandboxes."""
        self._stop.set()
        self._api.shutdown()
        self._api.server_close()
        self._asynchronous.close()
        for thread in self._threads:
            thread.join(10)
        for pool in self.pools.values():
            pool.close()

    def _loops(self, url: str, tick_seconds: float) -> Iterable[Loop]:
        yield ObjectEvents(self._sqs, self._queue(S3_EVENTS), self._queue(ARRIVALS)).run
        yield self._source(ARRIVALS, "arrival").run
        for _ in range(CONCURRENCY["step"]):
            yield self._source(HINTS, "step").run
        yield self._stream(url).run
        tick = self.pools[PREFIX + "tick"].invoke  # a failed tick is not retried, because the next one follows soon
        yield lambda stop: every(tick_seconds, tick, PREFIX + "tick", stop)

    def _source(self, queue: str, handler: str) -> QueueSource:
        arn, batch = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}", template.source(handler).batch
        return QueueSource(self._sqs, self._queue(queue), arn, self.pools[PREFIX + handler].invoke, batch)

    def _stream(self, url: str) -> StreamSource:
        table = resources.client("dynamodb", url).describe_table(TableName=resources.TABLE)["Table"]
        invoke = self.pools[PREFIX + "announce"].invoke
        streams = resources.client("dynamodbstreams", url)
        source = template.source("announce")
        return StreamSource(streams, table["LatestStreamArn"], invoke, self._to_dead_letter(ANNOUNCE_DLQ), source)

    def _to_dead_letter(self, queue: str) -> Callable[[str], object]:
        return lambda body: self._sqs.send_message(QueueUrl=self._queue(queue), MessageBody=body)

    def _queue(self, name: str) -> str:
        return str(self._sqs.get_queue_url(QueueName=name)["QueueUrl"])

    def _thread(self, loop: Loop) -> threading.Thread:
        thread = threading.Thread(target=loop, args=(self._stop,), daemon=True)
        thread.start()
        return thread


def main(port: int, logs: Path, tick_seconds: float) -> None:
    """Run until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    dispatcher = Dispatcher(os.environ["AWS_ENDPOINT_URL"], port, logs, tick_seconds)
    stopped.wait()
    dispatcher.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
