"""Pipelines of the shapes of upstream's golden ones, through the endpoint with an unmodified `kfp.Client`.

Named after test_data/sdk_compiled_pipelines/valid of upstream 2.17.0, written anew. (Of its 149 compiled pipelines all
are accepted; kfp.local executes those of one Python file without packages, and not nested loops with dsl.Collected.)
"""

# ruff: noqa: UP045 — `Optional[…]` is how upstream's golden pipelines spell it.

import json
import re
import warnings
from typing import NamedTuple, Optional

import kfp
import pytest
from kfp import compiler, dsl

from local.kfp import EmbeddedKFP

pytestmark = pytest.mark.xdist_group("kfp-golden")
component = dsl.component(base_image="python:3.11", install_kfp_package=False)


@component
def show(what: str, value: dict):
    import json

    print("shown", json.dumps({what: value}, sort_keys=True))


@component
def optional(given: str = "default value", text: Optional[str] = None, number: Optional[int] = None) -> str:
    print("shown", repr((given, text, number)))
    return given


@component
def types(table: dict, many: list, whole: int, real: float) -> dict:
    print("shown", table, many, whole, real, type(table["a"]).__name__, type(many[0]).__name__, type(real).__name__)
    return {"n": 1, "deep": [{"m": 2}]}


@component
def one() -> int:
    return 1


@component
def add(x: int, y: int) -> int:
    print("shown", x + y)
    return x + y


@component
def pair() -> NamedTuple("outputs", [("first", str), ("second", str)]):  # type: ignore[valid-type]  # KFP's own spelling
    from collections import namedtuple

    return namedtuple("outputs", ["first", "second"])("foo", "bar")  # type: ignore[call-arg]  # as above


@component
def say(text: str) -> str:
    print("shown", text)
    return text


@component
def fail():
    raise RuntimeError("told to fail")


@component
def flaky(path: str) -> str:
    import os

    if os.path.exists(path):
        return "second time"
    open(path, "w").close()
    raise RuntimeError("first time")


@component
def ended(status: dsl.PipelineTaskFinalStatus):
    fields = (status.state, status.pipeline_task_name, status.error_code, status.error_message)
    print("shown", fields, status.pipeline_job_resource_name)


@dsl.pipeline(name="component-with-optional-inputs")
def optional_inputs(text: Optional[str] = None, number: Optional[int] = None, table: dict = {"a": 1}):  # noqa: B006
    optional(text=text, number=number)
    optional(given="Hello", text="World")
    show(what="table", value=table)


@dsl.pipeline(name="inner")
def inner(text: str = None, number: int = None) -> str:  # type: ignore[assignment]  # noqa: RUF013 — KFP's own spelling of an optional input
    return optional(text=text, number=number).output


@dsl.pipeline(name="nested-pipeline-opt-inputs-nil")
def nested_optional():
    say(text=inner().output)


@dsl.pipeline(name="dict-input")
def numbers(table: dict, many: list, whole: int = 3, real: float = 2.0):
    made = types(table=table, many=many, whole=whole, real=real)
    show(what="made", value=made.output)


@dsl.pipeline(name="core")
def core() -> int:
    return one().output


@dsl.pipeline(name="mixed-parameters")
def mixed_parameters():
    add(x=2, y=core().output)


@dsl.pipeline(name="multiple-parameters-namedtuple")
def named_tuple():
    made = pair()
    say(text=made.outputs["first"])
    say(text=made.outputs["second"])


@dsl.pipeline(name="pipeline-with-loops")
def loops(items: list = ["a", "b"]):  # noqa: B006
    with dsl.ParallelFor(items) as item:
        say(text=item)


@dsl.pipeline(name="parameter-oneof")
def one_of(coin: str):
    with dsl.If(coin == "heads"):
        first = say(text="heads it is")
    with dsl.Else():
        second = say(text="tails it is")
    say(text=dsl.OneOf(first.output, second.output))


@dsl.pipeline(name="status-state-pipeline")
def status_state(broken: bool = False):
    with dsl.ExitHandler(ended(), name="my-part"):
        say(text="working")
        with dsl.If(broken == True):  # noqa: E712 — KFP's way to compare
            fail()


@dsl.pipeline(name="pipeline-with-retry")
def with_retry(path: str):
    say(text=flaky(path=path).set_retry(num_retries=2, backoff_duration="0s", backoff_factor=1.0).output)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with EmbeddedKFP(tmp_path_factory.mktemp("kfp"), tick=0) as running:
        yield running


@pytest.fixture(scope="module")
def execute(server, tmp_path_factory):
    """Compile, run, wait; gives the run and what its components have shown."""
    folder = tmp_path_factory.mktemp("packages")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = kfp.Client(host=server.url)

    def go(pipeline, **arguments):
        path = str(folder / f"{pipeline.name}.yaml")
        compiler.Compiler().compile(pipeline, path)
        run = client.create_run_from_pipeline_package(path, arguments=arguments, enable_caching=False)
        done = client.wait_for_run_completion(run.run_id, timeout=60, sleep_duration=0.05)
        log = server.log_of(run.run_id).read_text()
        return done, re.findall(r"shown (.*)", log), log

    return go


@pytest.mark.parametrize(
    ("pipeline", "arguments", "printed"),
    [
        (
            optional_inputs,
            {},
            ["('default value', None, None)", "('Hello', 'World', None)", '{"table": {"a": 1}}'],
        ),
        (
            optional_inputs,
            {"text": "x", "number": 7, "table": {"b": [1, 2.5, {"c": 3}]}},
            ["('default value', 'x', 7)", "('Hello', 'World', None)", '{"table": {"b": [1, 2.5, {"c": 3}]}}'],
        ),
        (nested_optional, {}, ["('default value', None, None)", "default value"]),
        (
            numbers,
            {"table": {"a": 1}, "many": [1, 2]},
            ["{'a': 1} [1, 2] 3 2 int int int", '{"made": {"deep": [{"m": 2}], "n": 1}}'],
        ),
        (mixed_parameters, {}, ["3"]),
        (named_tuple, {}, ["foo", "bar"]),
        (loops, {}, ["a", "b"]),
        (loops, {"items": ["c"]}, ["c"]),
        (one_of, {"coin": "heads"}, ["heads it is", "heads it is"]),
        (one_of, {"coin": "other"}, ["tails it is", "tails it is"]),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else json.dumps(value)[:40],
)
def test_a_pipeline_of_this_shape_succeeds(execute, pipeline, arguments, printed):
    """And each component got what a real KFP would hand it: integers stay so in lists and dicts, null is left out."""
    done, found, log = execute(pipeline, **arguments)
    assert done.state == "SUCCEEDED", log
    assert sorted(found) == sorted(printed)


@pytest.mark.parametrize(("broken", "state"), [(False, "COMPLETE"), (True, "FAILED")])
def test_an_exit_handler_gets_the_state_of_ml_metadata(execute, broken, state):
    """critical/pipeline_with_input_status_state.py, driver/resolve.go: COMPLETE, its group, and no error."""
    done, found, log = execute(status_state, broken=broken)
    assert done.state == ("FAILED" if broken else "SUCCEEDED"), log
    fields, name = found[-1].rsplit(" ", 1)
    assert fields == f"('{state}', 'exit-handler-1', None, None)"
    assert name.startswith("status-state-pipeline-")


def test_kfps_own_retry_is_kept(execute, tmp_path):
    """local_execution_pipeline_with_retry.py."""
    done, found, log = execute(with_retry, path=str(tmp_path / "tried"))
    assert (done.state, found) == ("SUCCEEDED", ["second time"]), log
