"""Hints through SQS."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

BATCH = 10


@dataclass(frozen=True)
class SqsHints:
    """`Hints` on a boto3 SQS client. A hint that cannot be sent is dropped: the tick looks anyway."""

    client: Any
    queue_url: str

    def look_at(self, run_ids: Iterable[str]) -> None:
        """Send a hint for each, ten a call."""
        entries = [{"Id": str(n), "MessageBody": json.dumps({"run_id": run_id})} for n, run_id in enumerate(run_ids)]
        for at in range(0, len(entries), BATCH):
            try:
                self.client.send_message_batch(QueueUrl=self.queue_url, Entries=entries[at : at + BATCH])
            except (ClientError, BotoCoreError):
                return
