"""Run by the runtime's interpreter: call the handler of the artifact in the working directory, as Lambda's client does.

python3.12 -I invoke.py FOLDER_OF_WHAT_THE_RUNTIME_BRINGS handlers.step.handler < event.json
"""

import importlib
import json
import os
import sys


class Context:
    """What the handlers read of Lambda's context."""

    function_name = "test"
    function_version = "$LATEST"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:test"
    aws_request_id = "00000000-0000-0000-0000-000000000000"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 60_000


if __name__ == "__main__":
    sys.path[:0] = [os.getcwd(), sys.argv[1]]
    module, name = sys.argv[2].rsplit(".", 1)
    answer = getattr(importlib.import_module(module), name)(json.load(sys.stdin), Context())
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    ours = [file for file in files if "site-packages" in file]
    stray = [
        file
        for file in ours
        if not file.startswith((os.getcwd(), os.path.realpath(sys.argv[1]))) and sys.argv[1] not in file
    ]
    print(json.dumps({"answer": answer, "stray": stray, "python": sys.version.split()[0]}))
