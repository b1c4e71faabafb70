"""What the loop would say of files, without the loop: each file's verdict, then whether a data set can be made."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from training.data.judging import ValidationResult
from training.data.preprocess import PreprocessConfig, admit, build, local_sources
from training.outcome import Permanent, Refused, Transient


@dataclass(frozen=True)
class Checked:
    """Each file's verdict by its name; why no data set can be made of them (""), else its splits and counts.

    `warnings` are of what a run would learn less from than it could.
    """

    verdicts: Mapping[str, ValidationResult]
    reason: str
    splits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    counts: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    @property
    def accepted(self) -> bool:
        """Whether a run could train on these files alone."""
        return not self.reason


def check(
    files: Sequence[str | Path], config: PreprocessConfig, today: date, labels: Sequence[str | Path] = ()
) -> Checked:
    """Judges files and labels files as the preprocess stage does: in a process of their own, under its limits."""
    verdicts: dict[str, ValidationResult] = {}
    with tempfile.TemporaryDirectory(prefix="fraudloop-check-") as scratch:
        try:
            admitted = admit(local_sources(files, labels), config, today=today, scratch=Path(scratch))
            verdicts = {admitted.names[identity]: verdict for identity, verdict in admitted.verdicts.items()}
            made = build(admitted, Path(scratch) / "dataset", replace(config, k=0)).dataset
        except Refused as refused:
            return Checked(verdicts, refused.reason, dict(refused.result.details).get("splits", {}))
        except (Permanent, Transient) as error:
            return Checked(verdicts, str(error))
    names = ("rows", "corrected", "duplicates", *(f"{name}s" for name in config.data.relations))
    counts = {name: made[name] for name in names}
    if labels:
        told = {"reports": "reported", "reports_that_wait": "waiting", "labels_corrected": "labels_corrected"}
        counts |= {name: made["labels"][key] for name, key in told.items()}
    return Checked(verdicts, "", made["splits"], counts, [*made["warnings"], *_unmatched(verdicts, labels, made)])


def _unmatched(
    verdicts: Mapping[str, ValidationResult], labels: Sequence[str | Path], made: Mapping[str, Any]
) -> Iterator[str]:
    """What is odd about the labels files beside these files: refused ones, and reports that name no transaction."""
    for file in (str(file) for file in labels):
        if file in verdicts and not verdicts[file].accepted:
            yield f"{Path(file).name} is refused, so its reports count for nothing"
    if waiting := made["labels"]["waiting"]:
        yield f"{waiting:,} reports name no transaction of these files; they wait for it (identity: docs/your-data.md)"
