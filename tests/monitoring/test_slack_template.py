"""Alertmanager's own renderer draws our Slack messages: labels, which anybody may push, are data."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[2] / "monitoring/slack.tmpl"
AMTOOL = shutil.which("amtool")


@pytest.mark.skipif(not AMTOOL, reason="amtool is not installed (apt-get install prometheus-alertmanager)")
def test_a_label_mentions_and_links_nobody(tmp_path):
    """`<!channel>` in a model's name, or quoted in an annotation, is plain text."""
    hostile = "<!channel> & `x` <https://evil.example|log in>"
    labels = {"alertname": "StageFailed", "model": hostile}
    annotations = {"summary": hostile, "description": hostile, "runbook": "docs/runbook.md#stagefailed"}
    alert = {"status": "firing", "labels": labels, "annotations": annotations}
    group = {"status": "firing", "alerts": [alert], "commonLabels": labels, "groupLabels": {}, "commonAnnotations": {}}
    (tmp_path / "data.json").write_text(json.dumps({"receiver": "pages", "externalURL": "http://x", **group}))
    for name, times in (("fraudloop.title", 1), ("fraudloop.text", 2)):
        text = f'{{{{ template "{name}" . }}}}'
        options = ["--template.glob", str(TEMPLATE), "--template.text", text, "--template.data"]
        command = [str(AMTOOL), "template", "render", *options, str(tmp_path / "data.json")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        plain = "&lt;!channel&gt; &amp; 'x' &lt;https://evil.example|log in&gt;"
        assert done.stdout.count(plain) == times
        assert not {"<", ">", "`"} & set(done.stdout)
