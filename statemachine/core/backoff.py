"""How long to wait before trying again."""


def backoff(failures: int, roll: float, base: float, cap: float) -> float:
    """Seconds: exponential in `failures` ≥ 1, at most `cap`, with half of it jittered by `roll` in [0, 1).

    "Equal jitter" of the AWS Architecture Blog, *Exponential Backoff And Jitter*.
    """
    full = min(cap, base * 2.0 ** min(failures - 1, 30))
    return full / 2 + roll * full / 2
