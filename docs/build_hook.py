"""mkdocs calls this: reference pages from code, the order of pages, and links that lead out of the site."""

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # mkdocs runs from anywhere

from cli import reference  # noqa: E402

ORDER = {
    "Start": ["index.md", "your-data.md", "onboarding.md", "local-system.md", "install.md"],
    "Operate": ["runbook.md", "troubleshooting.md", "reliability.md"],
    "Reference": ["reference/cli.md", "reference/parameters.md", "reference/metrics.md", "contracts.md"],
    "Understand": ["architecture.md", "state-machine.md", "model.md", "serving.md", "security.md", "glossary.md"],
    "Migrate": ["migration.md"],
}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made from code, then say in which order pages stand."""
    for name, content in reference.pages().items():
        files.append(File.generated(config, name, content=content))
    present = {file.src_uri for file in files.documentation_pages()}
    decisions = sorted(page for page in present if page.startswith("decisions/"))
    others = sorted(present - {page for pages in ORDER.values() for page in pages} - set(decisions))
    sections = {**ORDER, "Understand": [*ORDER["Understand"], *others], "Decisions": decisions}
    config["nav"] = [{name: [page for page in pages if page in present]} for name, pages in sections.items() if pages]
    return files


def on_page_markdown(markdown: str, config: Any, **_: Any) -> str:
    """A link out of docs/ (to a source file) is shown as the file's name: the site does not hold it."""
    return re.sub(r"\[([^\]]+)\]\((?:\.\./)+[^)]+\)", r"`\1`", markdown)
