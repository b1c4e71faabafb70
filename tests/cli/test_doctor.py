"""`doctor`: of the local system only what one machine can answer."""

from dataclasses import replace

from cli.migration.phases.check import holds, run
from cli.migration.phases.environment import Environment
from cli.migration.phases.installation import CHECKS

ASKED_HERE = {
    "credentials", "the stack's outputs", "the table", "the deployment's id", "the queues",
    "KFP answers from here", "the pipelines are published",
}  # fmt: skip


def test_of_a_local_system_nothing_is_asked_that_it_has_not():
    """What needs an account or a cluster is neither a yes nor a no, so a healthy local system is green."""
    healthy = [replace(check, probe=lambda world: "yes") for check in CHECKS]
    findings = run(healthy, Environment(local=True, environment={}))
    assert {finding.name for finding in findings if finding.ok} == ASKED_HERE
    assert all(finding.answer.startswith("not asked here: it needs") for finding in findings if finding.ok is None)
    assert holds(findings)


def test_only_takes_the_part_of_install_md(fraudloop, monkeypatch, tmp_path):
    """`doctor --only tools` asks for the tools of this machine, whatever runs on it."""
    told = fraudloop("doctor", "--only", "tools").stdout
    assert "kubectl, git and sam" in told
    assert "1 checks hold" in told
    assert "not asked" not in told
