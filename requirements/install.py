"""Runs pip with one line of progress:  python requirements/install.py PYTHON WHAT HOW-MANY PIP-ARGUMENT…

On a terminal the line is rewritten; elsewhere it is printed once a minute and at the end. HOW-MANY is 0 if unknown.
pip's
errors and warnings are shown, except that one of several indexes lacks a package.
"""

import os
import re
import subprocess
import sys
import time

UNITS = {"kB": 1e-3, "MB": 1.0, "GB": 1e3}
PACKAGE = re.compile(r"(Collecting|Processing|Requirement already satisfied)\b")
SIZE = re.compile(r"Downloading .*\(([0-9.]+) (kB|MB|GB)\)")
EXPECTED = re.compile(r"WARNING: Location .* is ignored")
COMPLAINT = re.compile(r"(ERROR|WARNING)\b|.*error:")
EVERY_SECONDS = 60


class Progress:
    """The progress read from pip's output, and when it was last shown."""

    def __init__(self, what: str, many: int) -> None:
        self.what, self.many = what, many
        self.packages, self.megabytes = 0, 0.0
        self.begun = self.shown_at = time.monotonic()
        self.terminal = sys.stdout.isatty()

    def read(self, line: str) -> None:
        """Process one line of pip's output."""
        if PACKAGE.match(line):
            self.packages += 1
        elif size := SIZE.search(line):
            self.megabytes += float(size[1]) * UNITS[size[2]]
        elif COMPLAINT.match(line) and not EXPECTED.match(line):
            self.say(line.rstrip())
        doing = "unpacking" if line.startswith("Installing collected packages") else ""
        if doing or self.terminal or time.monotonic() - self.shown_at >= EVERY_SECONDS:
            self.show(doing)

    def show(self, doing: str = "") -> None:
        """Print the progress."""
        of = f" of {self.many}" if self.many else ""
        seconds = time.monotonic() - self.begun
        status = f"{self.what}: {self.packages}{of} packages, {self.megabytes:.0f} MB downloaded, {seconds:.0f} s"
        self.say(f"{status}, {doing}" if doing else status, stays=False)
        self.shown_at = time.monotonic()

    def say(self, text: str, *, stays: bool = True) -> None:
        """Print one line. On a terminal it replaces the last one, unless that one `stays`."""
        start, end = ("\r\033[K", "\n" if stays else "") if self.terminal else ("", "\n")
        print(f"{start}{text}", end=end, flush=True)  # noqa: T201 — progress is what this command is for


def main() -> int:
    """Run pip and return its exit status."""
    python, what, many, *arguments = sys.argv[1:]
    progress = Progress(what, int(many))
    command = [python, "-m", "pip", "install", "--progress-bar", "off", *arguments]
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_COLOR": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
    ) as pip:
        for line in pip.stdout or ():
            progress.read(line)
    progress.show()
    if progress.terminal:
        print()  # noqa: T201 — ends the line of progress
    return pip.returncode


if __name__ == "__main__":
    sys.exit(main())
