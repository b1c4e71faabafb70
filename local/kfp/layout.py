"""The names of the files in a run's folder."""

TASKS = "tasks.jsonl"
ERROR = "error.txt"
LOG = "log.txt"
SPEC = "pipeline.json"
OUTPUTS = "outputs"
TEMPORARY = "tmp"
