"""The Argo CD MemoryApplication and its Triton pods in memory: one pointer, fenced by its generation."""

from dataclasses import dataclass, field

from statemachine.contracts.stage_request import StageRequest


@dataclass
class MemoryApplication:
    """`version` is what the pods serve; `patches` tells every write that got through."""

    generation: int = 0
    version: str = ""
    patches: list[tuple[int, str]] = field(default_factory=list)

    def patch(self, order: StageRequest) -> bool:
        """Compare and set: a smaller generation is refused, and so is an equal one with another version."""
        generation, version = int(order.parameters["generation"]), str(order.parameters["version"])
        if generation < self.generation or (generation == self.generation and version != self.version):
            return False
        self.generation, self.version = generation, version
        self.patches.append((generation, version))
        return True
