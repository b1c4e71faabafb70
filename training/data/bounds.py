"""How much one object, and all objects of a run together, may ask of the stage before it says no."""

from dataclasses import asdict, dataclass

RATIO_FROM = 16 * 1024**2  # bytes: what unpacks to less harms nobody, however well it was packed
ZERO_IS_A_SHARE = ("conversion_memory_bytes", "max_scratch_bytes")  # of what this machine has


@dataclass(frozen=True)
class Bounds:
    """Limits on what is read from outside. Bytes, seconds, counts; 0 of memory and scratch: of what is there, a share.

    An object that exceeds one is quarantined alone. `max_scratch_bytes` and `max_files` hold for the whole run, so
    they end the stage.
    """

    max_unpacked_bytes: int = 8 * 1024**3
    max_unpack_ratio: float = 100
    conversion_seconds: float = 300
    conversion_memory_bytes: int = 0
    max_scratch_bytes: int = 0
    max_files: int = 1_000_000
    max_downloads: int = 8
    max_message_length: int = 300
    max_problems: int = 20

    def senseless(self) -> list[str]:
        """The limits that nothing could keep, as `name = value`."""
        return [f"{name} = {value!r}" for name, value in asdict(self).items() if not _sensible(name, value)]


def _sensible(name: str, value: object) -> bool:
    least = 0 if name in ZERO_IS_A_SHARE else 1
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= least
