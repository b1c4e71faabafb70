"""The model item: which version serves, which run trains and deploys, and whether the model is on hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from statemachine.contracts.report import Artifact


@dataclass(frozen=True)
class Release:
    """A version that was verified by requests, and its folder."""

    version: str
    run_id: str
    uri: str
    generation: int
    at: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Deploying:
    """The run that holds the deploying slot. `generation` grows with every holder and fences earlier ones."""

    run_id: str
    generation: int


@dataclass(frozen=True)
class Hold:
    """Nothing trains and nothing is promoted until somebody releases the model; rollbacks still work."""

    who: str
    why: str
    at: float


@dataclass(frozen=True)
class Model:
    """One model. `refused` holds the content hashes of versions that were rolled back.

    `index` lists all objects that were trained on, `indexed` is the last epoch that it covers (−1: none yet).
    """

    name: str
    version: int = 0
    champion: Release | None = None
    predecessors: tuple[Release, ...] = ()
    anchor: Release | None = None
    training: str = ""
    deploying: Deploying | None = None
    generation: int = 0
    hold: Hold | None = None
    refused: tuple[str, ...] = ()
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    parameters_from: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    index: Artifact | None = None
    indexed: int = -1

    def deployed_by(self, run_id: str, generation: int) -> "Model":
        """The deploying slot is that run's, under that generation."""
        return replace(self, generation=generation, deploying=Deploying(run_id, generation))

    def release_of(self, version: str) -> Release | None:
        """The champion, anchor or kept predecessor of that version."""
        known = (self.champion, self.anchor, *self.predecessors)
        return next((release for release in known if release and release.version == version), None)


def content_hash(version: str) -> str:
    """The hash part of `<run>-<hash8>`: equal content has an equal hash whatever run made it."""
    return version.rsplit("-", 1)[-1]
