"""Whom a round kills, when, and how: `kill -9` of the real processes, found in the tree of the running system."""

import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass

import psutil

LAMBDA, KFP, STAGE, ATTEMPTS, TRITON, WIRE = VICTIMS = (
    "a Lambda runtime",
    "the embedded KFP",
    "a stage's process",
    "every attempt of a stage",
    "Triton",
    "the connections to moto",
)
FUNCTIONS = ("step", "step", "step", "arrival", "tick", "announce")
STATES = ("PREPROCESSING", "TRAINING", "EVALUATING", "EXPORTING", "SHADOWING", "DEPLOYING")
LAST_WRITE = 22  # the run that nobody disturbs is written 24 times


@dataclass(frozen=True)
class Moment:
    """So many seconds after the run's record was written for the nth time; 0 is the landing of its file."""

    write: int
    seconds: float

    def __str__(self):
        return f"write {self.write:2} + {self.seconds:.2f} s"


@dataclass(frozen=True)
class Plan:
    """What a seed draws for a victim: when, and which function or state where there are several."""

    victim: str
    moment: Moment
    which: str = ""

    @classmethod
    def drawn(cls, victim, seed):
        draw = random.Random(f"{victim} {seed}")
        which = draw.choice(FUNCTIONS) if victim == LAMBDA else draw.choice(STATES) if victim == ATTEMPTS else ""
        write = 0 if which == "arrival" else draw.randint(1, LAST_WRITE)
        longest = 0.08 if victim == LAMBDA else 1.5
        return cls(victim, Moment(write, draw.uniform(0, longest)), which)

    @property
    def when(self):
        """The moment, in words."""
        return "each at once" if self.victim == ATTEMPTS else str(self.moment)

    def __str__(self):
        return f"{self.victim} ({self.which})" if self.which else self.victim


class Killer:
    """Kills parts of a running system; `relay` stands before its cloud."""

    def __init__(self, system, relay):
        self._system, self._relay = system, relay

    def kill(self, plan):
        """Kill what the plan names, as soon as there is one; how many processes (or ends of connections) it hit."""
        if plan.victim == WIRE:
            return sum(self._relay.cut() for _ in _for(1.0, 0.05))
        for _ in _for(30, 0.01):
            if hit := sum(_killed(process) for process in self.found(plan)):
                return hit
        raise AssertionError(f"there is no process to kill: {plan}")

    def kill_stages(self):
        """Kill every process of every stage that works now, if there is any."""
        for process in self.stages():
            _killed(process)

    def found(self, plan):
        """The processes that the plan means."""
        match plan.victim:
            case "a Lambda runtime":
                return [p for p in self._below("dispatcher") if f"handlers.{plan.which}.handler" in _words(p)]
            case "the embedded KFP":
                return [psutil.Process(self._system.pid("kfp"))]
            case "Triton":
                return self.tritons()
        return self.stages()

    def stages(self):
        """Every process of every stage that works now."""
        workers = [p for p in self._below("kfp") if "local.kfp.worker" in _words(p)]
        pods = [p for worker in workers for p in _family(worker)]
        return [p for p in pods if p not in workers]

    def tritons(self):
        """The servers, without their interpreters."""
        return [p for p in self._below("cluster") if any(word.endswith("/tritonserver") for word in _words(p)[:1])]

    def strays(self, marker):
        """Processes of this system, known by a value in their environment, that are no descendants of it any more."""
        ours = {p.pid for p in _family(psutil.Process())}
        return [p for p in psutil.process_iter() if p.pid not in ours and marker in _environment(p).values()]

    def _below(self, part):
        return _family(psutil.Process(self._system.pid(part)))


def _family(process):
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def _words(process):
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return process.cmdline()
    return []


def _environment(process):
    with suppress(psutil.Error):
        return process.environ() if process.status() != psutil.STATUS_ZOMBIE else {}
    return {}


def _killed(process):
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGKILL)
        return True
    return False


def _for(seconds, pause):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield
        time.sleep(pause)
