"""What `fraud_live` counts, on Triton's own metrics endpoint."""

from typing import Any

SLOW = 0.010  # seconds; `fraudloop slo` asks how many payments took longer


class LiveMetrics:
    """Counts answers by reason of degradation, waits for the store, and payments that were scored again."""

    def __init__(self, families: Any = None, model: str = "") -> None:
        self._families, self._model = families, model
        self._counters: dict[tuple[str, str], Any] = {}

    @classmethod
    def of_triton(cls, model: str) -> "LiveMetrics":
        """Metrics of the server that this process is a backend of; nothing is counted outside of one."""
        try:
            import triton_python_backend_utils as triton  # exists only inside Triton

            kind = triton.MetricFamily.COUNTER
        except (ImportError, AttributeError):
            return cls()
        told = {
            "fraudloop_live_answers_total": "Payments answered, by why the answer is degraded (empty: it is not)",
            "fraudloop_live_slow_total": f"Payments that took longer than {SLOW * 1000:g} ms in the model",
            "fraudloop_live_refused_total": "Requests refused because a transaction is wrong",
            "fraudloop_live_store_seconds_total": "Seconds that payments waited for the online store",
            "fraudloop_live_store_calls_total": "Payments that asked the online store",
            "fraudloop_live_conflicts_total": "Payments scored again because another one came between",
        }
        families = {name: triton.MetricFamily(name=name, description=text, kind=kind) for name, text in told.items()}
        return cls(families, model)

    def answered(self, degraded: str, seconds: float, waited: float | None = None, conflicts: int = 0) -> None:
        """One payment was answered after `seconds`, of which it `waited` for the store if it asked one."""
        self._add("fraudloop_live_answers_total", 1, degraded)
        self._add("fraudloop_live_slow_total", seconds > SLOW)
        if waited is None:
            return
        self._add("fraudloop_live_store_seconds_total", waited)
        self._add("fraudloop_live_store_calls_total", 1)
        self._add("fraudloop_live_conflicts_total", conflicts)

    def refused(self) -> None:
        """One request was refused."""
        self._add("fraudloop_live_refused_total", 1)

    def _add(self, name: str, value: float, degraded: str | None = None) -> None:
        if self._families is None:
            return
        key = (name, degraded or "")
        if key not in self._counters:
            labels = {"model": self._model} | ({} if degraded is None else {"degraded": degraded})
            self._counters[key] = self._families[name].Metric(labels=labels)
        self._counters[key].increment(value)
