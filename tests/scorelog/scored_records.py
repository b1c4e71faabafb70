"""Records of scored payments."""

from typing import Any

from training.scorelog.record import ScoreRecord


def scored(number: int, **more: Any) -> ScoreRecord:
    """The answer to request `number`."""
    values = {
        "request_id": f"r{number}",
        "at": 1_800_000_000.0 + number,
        "time": 1_800_000_000 + number,
        "transaction": f"a1b2,{number}",
        "probability": (number % 100) / 100,
        "decision": number % 100 >= 90,
        "threshold": 0.9,
        "version": "fraud-1-0a1b2c3d",
        "definition": "d1",
        "latency_us": 900,
    }
    return ScoreRecord(**{**values, **more})
