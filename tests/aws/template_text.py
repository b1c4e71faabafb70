"""Reads template.yaml as text: YAML with CloudFormation's short forms, without translation."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml
from deployment import ROOT


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, kept as {tag: value}."""


def _short(loader: Any, suffix: str, node: Any) -> dict[str, Any]:
    build = {yaml.ScalarNode: loader.construct_scalar, yaml.SequenceNode: loader.construct_sequence}
    value = build.get(type(node), loader.construct_mapping)(
        node, *(() if isinstance(node, yaml.ScalarNode) else (True,))
    )
    return {f"!{suffix}": value}


Loader.add_multi_constructor("!", _short)


@dataclass(frozen=True)
class Template:
    """One template's text and its parsed contents; a test may pass a broken one."""

    text: str

    @cached_property
    def tree(self) -> dict[str, Any]:
        return dict(yaml.load(self.text, Loader))

    @property
    def resources(self) -> dict[str, Any]:
        return dict(self.tree["Resources"])

    def of_type(self, kind: str) -> dict[str, Any]:
        return {name: r for name, r in self.resources.items() if r["Type"] == kind}

    def but(self, old: str, new: str) -> "Template":
        """The same, with one thing changed on purpose."""
        assert old in self.text, f"{old!r} is not in the template any more"
        return Template(self.text.replace(old, new, 1))


OURS = Template((ROOT / "template.yaml").read_text())
