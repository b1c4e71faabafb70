"""What a stage's pod requests of its node, and how a report carries it, so that the controller can price a run."""

from collections.abc import Mapping
from dataclasses import dataclass

from statemachine.contracts.errors import Misconfigured

SECONDS = "pod_seconds"
GIB = {"Ki": 2.0**-20, "Mi": 2.0**-10, "Gi": 1.0, "Ti": 2.0**10, "M": 1e6 / 2**30, "G": 1e9 / 2**30}


@dataclass(frozen=True)
class PodRequests:
    """CPUs, GiB and GPUs."""

    cpus: float = 1.0
    memory_gib: float = 2.0
    gpus: float = 0.0

    @classmethod
    def parse(cls, cpu: str, memory: str, gpus: float = 0) -> "PodRequests":
        """From Kubernetes' quantities: `500m`, `12Gi`. Raises `Misconfigured`."""
        return cls(_cpus(cpu), _gib(memory), float(gpus))

    def metrics(self, stage: str) -> dict[str, float]:
        """As a stage's report carries them: `pod_cpus.<stage>`, `pod_memory_gib.<stage>`, `pod_gpus.<stage>`."""
        return {
            f"pod_cpus.{stage}": self.cpus,
            f"pod_memory_gib.{stage}": self.memory_gib,
            f"pod_gpus.{stage}": self.gpus,
        }

    @classmethod
    def of(cls, stage: str, metrics: Mapping[str, float]) -> "PodRequests | None":
        """What a report carries; `None` if its pod did not know."""
        names = (f"pod_cpus.{stage}", f"pod_memory_gib.{stage}", f"pod_gpus.{stage}")
        return cls(*(float(metrics[name]) for name in names)) if all(name in metrics for name in names) else None


UNKNOWN = PodRequests()  # what is assumed of a pod that nobody knows the requests of


def _cpus(quantity: str) -> float:
    try:
        return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)
    except ValueError as error:
        raise Misconfigured(f"{quantity!r} is no CPU quantity; `2` or `500m` are") from error


def _gib(quantity: str) -> float:
    suffix = next((s for s in sorted(GIB, key=len, reverse=True) if quantity.endswith(s)), "")
    try:
        return float(quantity[: len(quantity) - len(suffix)]) * (GIB[suffix] if suffix else 2.0**-30)
    except ValueError as error:
        raise Misconfigured(f"{quantity!r} is no memory quantity; `12Gi` is") from error
