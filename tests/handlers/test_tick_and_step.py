"""The tick finds what is due; a step is one pass."""

from statemachine.core.states import State


def begun(invoke):
    invoke("arrival", "arrival_batch")
    invoke.app().operations.start("fraud", "ada", "a test")


def test_the_tick_hints_at_every_due_run(invoke, hints):
    """A run whose hints were all lost is found again."""
    begun(invoke)
    hints()
    assert invoke("tick", "tick") == {"due": 1}
    assert hints() == ["fraud-1"]


def test_a_step_is_one_pass(invoke, kfp, hints):
    """Our own hint and the pipeline's own event both mean: look. The unknown and the malformed go back alone."""
    begun(invoke)
    answer = invoke("step", "step_hints")
    assert [f["itemIdentifier"][-4:] for f in answer["batchItemFailures"]] == ["0003", "0004"]
    assert invoke.app().store.run("fraud-1").state is State.PREPROCESSING


def test_a_kfp_that_does_not_answer_is_no_message_failure(invoke, kfp):
    """The message is done, the run looks again later, and nobody waits behind it."""
    begun(invoke)
    kfp.down = True
    answer = invoke("step", {"Records": [{"messageId": "m", "body": '{"run_id": "fraud-1"}'}] * 3})
    run = invoke.app().store.run("fraud-1")
    assert answer == {"batchItemFailures": []}
    assert run.reason.startswith("unreachable: KFP")
    assert run.unreachable_count > 0


def test_the_doctor_may_ask_the_step_whether_kfp_answers(invoke, kfp):
    """ "" is yes; else the step says what kept it from KFP. No run is looked at."""
    begun(invoke)
    assert invoke("step", {"source": "fraudloop.doctor"}) == {"kfp": ""}
    kfp.down = True
    assert invoke("step", {"source": "fraudloop.doctor"})["kfp"].startswith("KFP")
    assert invoke.app().store.run("fraud-1").state is State.QUEUED


def test_the_tick_frees_a_slot_whose_holder_is_gone(invoke):
    """Nobody waits for ever behind a run that does not exist."""
    from dataclasses import replace

    invoke.app().store.change_model("fraud", lambda model: replace(model, training="fraud-99"))
    invoke("tick", "tick")
    assert invoke.app().store.model("fraud").training == ""


def test_a_model_whose_record_cannot_be_read_holds_up_nobody(invoke, hints):
    """Poison on one model's item: the tick says so, and every run that is due is hinted at all the same."""
    from dataclasses import replace

    from statemachine.core.model import Model
    from statemachine.ports import Clause
    from statemachine.store import put_model

    begun(invoke)
    hints()
    put = put_model(Model("fraud", 99), "poison")
    here = Clause("it is there", "model", "fraud")
    invoke.app().store.table.write(replace(put, item={**put.item, "format": 99}, clause=here))
    assert invoke("tick", "tick") == {"due": 1}
    assert hints() == ["fraud-1"]


def emitted(capsys, name):
    """The values of a metric in what was printed (EMF)."""
    import json

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return [value for line in lines if "_aws" in line and name in line for value in line[name]]


def test_the_tick_says_each_minute_which_runs_are_not_answered(invoke, kfp, hints, capsys):
    """Also in the minutes in which the run is not due: its pauses grow to a quarter of an hour."""
    begun(invoke)
    hints()
    invoke("tick", "tick")
    assert emitted(capsys, "UnreachableRuns") == [0]
    kfp.down = True
    invoke("step", {"Records": [{"messageId": "m", "body": '{"run_id": "fraud-1"}'}] * 2})
    assert invoke("tick", "tick") == {"due": 0}
    assert emitted(capsys, "UnreachableRuns") == [1]


def test_hints_come_before_models_and_no_model_takes_the_others_time(invoke, hints, monkeypatch, capsys):
    """With no time left, hints for runs in flight are still sent, and the number of skipped models is emitted."""
    from handlers import tick

    begun(invoke)
    hints()
    monkeypatch.setattr(tick, "RESERVE", 1e9)
    assert invoke("tick", "tick") == {"due": 1}
    assert hints() == ["fraud-1"]
    assert emitted(capsys, "ModelsNotTended") == [1]


def test_each_minute_begins_with_another_model():
    """Over a day each of 1,000 models is within the first 400 of some tick in every quarter of an hour."""
    from handlers.tick import _beginning_elsewhere

    models = [f"m{n}" for n in range(1000)]
    for quarter in range(0, 1440, 15):
        first = {m for minute in range(15) for m in _beginning_elsewhere(models, (quarter + minute) * 60.0)[:400]}
        assert len(first) == 1000
