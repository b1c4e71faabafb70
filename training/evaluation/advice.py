"""The recommendation on the first screen of a report: what the figures say, with reasons. Pure; it decides nothing.

The gate decides what may be released. This puts its verdict beside what a person would weigh: whether the gain over
the champion is certain, for whom it is worse, whether calibration holds, and whether a simpler model does as well.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

RELEASE, LOOK, KEEP = "release", "look closer", "do not release"
WORST_SEGMENTS = 3
MISCALIBRATED = 2.0  # predicted over observed, or the reverse, in a bin that holds frauds
WARNINGS = 3  # of the data that are shown
MOVED = 0.25  # PSI; the usual reading is that a feature has shifted


@dataclass(frozen=True)
class Advice:
    """`action` is one of release, look closer, do not release; `headline` is one sentence, `reasons` what it rests on.

    A reason is (kind, sentence); the kind is for, against or note.
    """

    action: str
    headline: str
    reasons: tuple[tuple[str, str], ...]


def advise(evaluation: Mapping[str, Any], passed: bool, failed: Mapping[str, str]) -> Advice:
    """The recommendation; `passed` is the gate's verdict and `failed` the notes of its failed checks by name."""
    reasons = tuple(_reasons(evaluation, passed, failed))
    against = [text for kind, text in reasons if kind == "against"]
    if not passed:
        return Advice(
            KEEP, f"Do not release this candidate: {_counted(len(failed), 'check')} of the gate failed.", reasons
        )
    if against:
        return Advice(LOOK, "The gate passes. Look closer before you say yes.", reasons)
    return Advice(RELEASE, "Release this candidate: the gate passes, and nothing here speaks against it.", reasons)


def strongest(baselines: Mapping[str, Mapping[str, float]]) -> str:
    """The baseline with the highest average precision; "" if there is none."""
    return max(baselines, key=lambda name: baselines[name]["average_precision"], default="")


def _reasons(evaluation: Mapping[str, Any], passed: bool, failed: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, note in failed.items():
        yield "against", f"{name}: {note}"
    if passed:
        yield "for", "Every check of the gate held."
    yield from _champion(evaluation.get("champion"))
    yield from _segments(evaluation)
    yield from _baseline(evaluation)
    yield from _graph(evaluation.get("graph_adds"))
    yield from _calibration(evaluation.get("reliability", ()))
    yield from _drift(evaluation.get("drift", {}))
    yield from (("note", str(warning)) for warning in evaluation.get("warnings", ())[:WARNINGS])


def _champion(champion: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if champion is None:
        yield "note", "No version serves yet, so there is none to be better than."
        return
    gained = champion.get("difference", {}).get("average_precision")
    if gained is None:
        yield "against", f"The champion {champion.get('version')} could not be scored."
        return
    between = f"{gained['mean']:+.3f}, between {gained['low']:+.3f} and {gained['high']:+.3f}"
    if gained["low"] > 0:
        yield "for", f"It ranks better than the champion {champion['version']}: average precision {between}."
    elif gained["high"] < 0:
        yield "against", f"It ranks worse than the champion {champion['version']}: average precision {between}."
    else:
        yield "note", f"It is neither clearly better nor worse than the champion: average precision {between}."


def _segments(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    version = (evaluation.get("champion") or {}).get("version")
    worse = []
    for segment in evaluation.get("segments", ()):
        gained = segment["rivals"].get("champion", {}).get("difference", {}).get("average_precision")
        if gained and gained["high"] < 0:
            worse.append((gained["mean"], f"{segment['name']} ({gained['mean']:+.3f}, {segment['frauds']} frauds)"))
    if worse:
        names = ", ".join(name for _, name in sorted(worse)[:WORST_SEGMENTS])
        yield "against", f"It is worse than {version} in {_counted(len(worse), 'segment')}: {names}."


def _baseline(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    baselines = evaluation.get("baselines", {})
    best = strongest(baselines)
    if not best:
        return
    theirs, ours = baselines[best]["average_precision"], evaluation["metrics"]["average_precision"]
    gained = (evaluation.get("rivals") or {}).get(best, {}).get("difference", {}).get("average_precision")
    between = f" ({gained['low']:+.3f} to {gained['high']:+.3f})" if gained else ""
    kind = "against" if (gained["high"] < 0 if gained else ours < theirs) else "note"
    yield (
        kind,
        f"The strongest baseline, {best}, reaches {theirs:.3f} average precision, this candidate {ours:.3f}{between}.",
    )


def _graph(adds: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if not adds:
        return
    between = f"{adds['mean']:+.3f} average precision ({adds['low']:+.3f} to {adds['high']:+.3f}) over {adds['rival']}"
    if adds["verdict"] == "adds":
        yield "for", f"The graph network adds {between}."
    else:
        yield (
            "note",
            f"It is not shown that the graph network adds anything: {between}. {adds['recommendation'] or ''}".strip(),
        )


def _calibration(reliability: Any) -> Iterator[tuple[str, str]]:
    off = [
        part
        for part in reliability
        if part["observed"] > 0
        and part["predicted"] > 0
        and not 1 / MISCALIBRATED <= part["predicted"] / part["observed"] <= MISCALIBRATED
    ]
    if off:
        worst = max(
            off, key=lambda part: max(part["predicted"] / part["observed"], part["observed"] / part["predicted"])
        )
        yield (
            "note",
            f"Its probabilities are off by more than a factor of {MISCALIBRATED:g} in {_counted(len(off), 'bin')}; "
            f"worst: it says {worst['predicted']:.2%}, and {worst['observed']:.2%} were fraud.",
        )


def _drift(drift: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    moved = sorted((name for name, value in drift.items() if value > MOVED), key=lambda name: -drift[name])
    if moved:
        names = ", ".join(f"{name} ({drift[name]:.2f})" for name in moved[:WORST_SEGMENTS])
        yield "note", f"{_counted(len(moved), 'column')} moved since the champion's data: {names}."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
