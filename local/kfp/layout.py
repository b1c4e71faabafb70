"""The names of what a run leaves in its folder."""

TASKS = "tasks.jsonl"
ERROR = "error.txt"
LOG = "log.txt"
SPEC = "pipeline.json"
OUTPUTS = "outputs"
TEMPORARY = "tmp"
