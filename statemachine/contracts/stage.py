"""The stages: each is one KFP pipeline."""

from enum import Enum


class Stage(Enum):
    """One KFP pipeline: the unit that is launched, timed out, retried and redriven alone."""

    PREPROCESS = "preprocess"
    TRAIN = "train"
    EVALUATE = "evaluate"
    EXPORT = "export"
    DEPLOY = "deploy"
    RESTORE = "restore"
