"""Puts the quick stages where the components look for the real ones; imports nothing, since every process runs it."""

import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

PLACES = {
    "preprocess": "training.data.preprocess",
    "materialise": "training.live.materialise",
    "train": "training.model.train",
    "evaluate": "training.evaluation.evaluate",
    "export": "training.export.export",
    "shadow": "training.shadow.shadow",
    "deploy": "training.deployment.deploy",
    "restore": "training.deployment.deploy",
}


def later(stage: str) -> Callable[[Any], Any]:
    """The stage's work, imported when it is called."""

    def work(order: Any) -> Any:
        from simulation.quick_stages import work as quick

        return getattr(quick, stage)(order)

    return work


for name in os.environ.get("QUICK_STAGES", "").split():
    module = sys.modules.setdefault(PLACES[name], ModuleType(PLACES[name]))
    setattr(module, name, later(name))
