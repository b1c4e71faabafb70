"""One name, one thing: a class is found by its name alone."""

import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = "statemachine training handlers cli local clients simulation benchmarks monitoring deploy".split()  # noqa: SIM905
SHARED = {
    "TritonPythonModel": "the name that Triton's python backend looks for",
    "Access": "who may do what, in the stand-in of Argo CD and in that of KFP",
    "Asked": "a request's options: of a patch to Argo CD's stand-in, of a list of KFP's",
    "Denied": "an answer of 403: to the controller, to a stage that fetches, to a stage that deploys, to a client",
    "Lambda": "a function in template.yaml, and a panel about the functions",
    "Listing": "of the bucket, and a table on a terminal",
    "Options": "of the local system, and of a list of KFP's",
    "Place": "where a listing stopped, and where a search runs",
    "Runs": "the stand-in's, and a benchmark's fake of upstream's cost",
    "Source": "an object to learn from, and an event source in template.yaml",
    "Taken": "what a run takes from its manifest and index, and what was obtained of its objects",
    "Unreadable": "an object, and a pipeline",
    "World": "the stand-in of KFP, and the world in memory",
}


def test_class_names_are_unique():
    """Who searches for `class X` finds one; each other is in `SHARED`, with what the two are."""
    places = defaultdict(list)
    for top in CODE:
        for path in sorted((ROOT / top).rglob("*.py")):
            if "node_modules" in path.parts:  # of the tools that `make aws-tools` installs
                continue
            for name in re.findall(r"^class (\w+)", path.read_text(), re.MULTILINE):
                places[name].append(str(path.relative_to(ROOT)))
    assert len(places) > 200
    assert {name: files for name, files in places.items() if len(files) > 1 and name not in SHARED} == {}
