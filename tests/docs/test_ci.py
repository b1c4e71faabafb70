"""CI runs what the pages say that it runs, within its hour."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = re.findall(r'^part "([^"]+)" (\d+) (.+)$', (ROOT / ".ci/run").read_text(), re.MULTILINE)


def test_the_budgets_of_all_parts_stay_below_an_hour():
    """CI ends a run after an hour; the comment's sum is the parts'."""
    budgets = [int(minutes) for _, minutes, _ in PARTS]
    assert sum(budgets) < 60
    assert f"# {' + '.join(map(str, budgets))} = {sum(budgets)}" in (ROOT / ".ci/run").read_text()


def test_every_part_is_there_and_nothing_of_the_checks_is_left_out():
    """Lints, types and layers, the templates, the images' environments, all tests, the site, the demo."""
    targets = [command.removeprefix("make ") for _, _, command in PARTS if command.startswith("make ")]
    ran = subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert set(targets) >= {"check", "aws-tools", "lint-aws", "check-images", "test", "docs", "demo"}
    assert targets.index("aws-tools") < targets.index("test"), "without its tools tests/aws and tests/deploy skip"
