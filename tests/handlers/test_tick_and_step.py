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
