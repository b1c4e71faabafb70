"""Takes the pictures of docs/console.md: `make screenshots`. A filled deployment in a local cloud, a real Chromium.

.venv/bin/python tests/console/screenshots.py docs/assets/console
"""

import os
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "cli"), str(HERE.parents[1])]

import filled  # noqa: E402

from cli.console.serving import serving  # noqa: E402
from local.aws import resources, server  # noqa: E402
from local.browser import browser  # noqa: E402
from statemachine.bootstrap import bootstrap  # noqa: E402

# name: (path, width, theme, pixels of height; 0 is the whole page)
PICTURES = {
    "overview": ("/", 1280, "light", 0),
    "run": ("/runs/fraud-6", 1280, "light", 1500),
    "approve": (None, 1280, "light", 0),
    "model": ("/models/fraud", 1280, "dark", 1150),
    "report": ("/runs/fraud-6/report", 1280, "light", 1700),
    "phone": ("/runs/fraud-6", 390, "dark", 1100),
}


def main(folder: Path) -> None:
    """Write the pictures into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with server.serving() as url, tempfile.TemporaryDirectory() as scratch:
        environment = resources.CREDENTIALS | resources.create(url).environment()
        os.environ.update({**environment, "AWS_ENDPOINT_URL": url})
        system = bootstrap()
        filled.fill(system, nasty="")
        with serving(system, None) as (console, address), browser(Path(scratch)) as tab:
            threading.Thread(target=console.serve_forever, daemon=True).start()
            tab.open(address)
            base = address.partition("/enter")[0]
            tab.open(f"{base}/runs/fraud-6")
            approve = tab.value("document.querySelector('a[href^=\"/act/approve\"]').getAttribute('href')")
            for name, (path, width, theme, height) in PICTURES.items():
                tab.theme(theme)
                tab.open(base + (path or approve), width, 900)
                tab.picture(folder / f"{name}.png", height)
                print(f"{folder / name}.png")
            console.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
