"""mkdocs calls this: reference pages from code, the order of pages, links that lead out of the site, and Mermaid."""

import base64
import hashlib
import re
import sys
import tarfile
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.utils import get_relative_url

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))  # mkdocs runs from anywhere

from cli import reference  # noqa: E402

ORDER = {
    "Start": ["index.md", "your-data.md", "onboarding.md", "local-system.md", "install.md"],
    "Use": [
        "approve.md",
        "console.md",
        "audit.md",
        "serving.md",
        "live-scoring.md",
        "score-log.md",
        "model.md",
        "data.md",
    ],
    "Operate": ["runbook.md", "troubleshooting.md", "reliability.md", "security.md"],
    "Reference": ["reference/cli.md", "reference/parameters.md", "reference/metrics.md", "contracts.md", "glossary.md"],
    "Understand": ["architecture.md", "state-machine.md"],
    "Migrate": ["migration.md"],
}

# The theme draws diagrams with the Mermaid that is there, and else loads it from a CDN. Ours is the archive that the
# npm registry gives, and its integrity is the one that the registry names.
MERMAID = DOCS / "vendor/mermaid-js-tiny-11.17.2.tgz"
INTEGRITY = "PmFr1c5cSfNf5AngLLR98DrbvR4U5KeD7I+hQkGqG5w5Veu3QT4dG0qu9f99cpn/sKj2XxRBK0q7EL6hr9NY/A=="
SCRIPT, LICENCE = "assets/mermaid/mermaid.tiny.js", "assets/mermaid/LICENSE"
# A diagram is as wide as the page, but not narrower than half its natural size: else it scrolls (assets/site.css).
LEAST_WIDTH = """{
  const render = mermaid.render;
  mermaid.render = async (...given) => {
    const drawn = await render(...given);
    const least = (natural, width) => `${natural}; min-width: ${width / 2}px`;
    const svg = drawn.svg.replace(/max-width: ([0-9.]+)px/, least);
    return {...drawn, svg};
  };
}"""
CDN = re.compile(r"https://unpkg\.com/[^\"']+")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made from code and Mermaid, then say in which order pages stand."""
    made: dict[str, str | bytes] = {**reference.pages(), **_mermaid()}
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    present = {file.src_uri for file in files.documentation_pages()}
    decisions = sorted(page for page in present if page.startswith("decisions/"))
    decisions.sort(key=lambda page: page != "decisions/index.md")
    others = sorted(present - {page for pages in ORDER.values() for page in pages} - set(decisions))
    sections = {**ORDER, "Understand": [*ORDER["Understand"], *others], "Decisions": decisions}
    config["nav"] = [{name: [page for page in pages if page in present]} for name, pages in sections.items() if pages]
    return files


def on_page_markdown(markdown: str, config: Any, **_: Any) -> str:
    """A link out of docs/ (to a source file) is shown as the file's name: the site does not hold it."""
    return re.sub(r"\[([^\]]+)\]\((?:\.\./)+[^)]+\)", r"`\1`", markdown)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """A page with a diagram loads Mermaid before the theme's script asks whether it is there."""
    if '<pre class="mermaid">' not in output:
        return output
    loaded = f'<script src="{get_relative_url(SCRIPT, page.url)}"></script><script>{LEAST_WIDTH}</script>'
    return output.replace("</head>", f"{loaded}</head>", 1)


def on_post_build(config: Any) -> None:
    """Take the CDN's addresses out of the theme's script (Mermaid, and a shim for browsers of 2019)."""
    for bundle in Path(config["site_dir"]).glob("assets/javascripts/bundle.*.js"):
        bundle.write_text(CDN.sub("about:blank#not-loaded-from-a-cdn", bundle.read_text()))


def _mermaid() -> dict[str, bytes]:
    found = base64.b64encode(hashlib.sha512(MERMAID.read_bytes()).digest()).decode()
    if found != INTEGRITY:
        raise PluginError(f"{MERMAID} has sha512 {found}, expected {INTEGRITY}: see docs/vendor/README.md")
    with tarfile.open(MERMAID) as archive:
        members = {SCRIPT: "package/dist/mermaid.tiny.js", LICENCE: "package/LICENSE"}
        return {name: archive.extractfile(member).read() for name, member in members.items()}  # type: ignore[union-attr]
