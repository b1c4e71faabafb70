"""The stages: each is one KFP pipeline."""

from enum import Enum


class Stage(Enum):
    """One KFP pipeline: the unit that is launched, timed out, retried and redriven alone."""

    PREPROCESS = "preprocess"
    MATERIALISE = "materialise"
    TRAIN = "train"
    EVALUATE = "evaluate"
    EXPORT = "export"
    SHADOW = "shadow"
    DEPLOY = "deploy"
    RESTORE = "restore"
