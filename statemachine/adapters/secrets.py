"""Secrets: the KFP token and the Slack webhook, from the environment or Secrets Manager, read when first needed."""

from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from statemachine.contracts.errors import Unreachable


@dataclass(frozen=True)
class Secret:
    """One secret. A plain value wins; else it is fetched, and kept until somebody asks for a fresh one."""

    value: str = ""
    name: str = ""
    client: Any = None
    kept: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __call__(self, *, fresh: bool = False) -> str:
        """The secret's text; "" if none is configured."""
        if self.value or not self.name:
            return self.value
        if fresh or self.name not in self.kept:
            self.kept[self.name] = self._fetch()
        return self.kept[self.name]

    def _fetch(self) -> str:
        try:
            return str(self.client().get_secret_value(SecretId=self.name)["SecretString"]).strip()
        except (ClientError, BotoCoreError) as error:
            raise Unreachable(f"secret {self.name}: {error}") from error
