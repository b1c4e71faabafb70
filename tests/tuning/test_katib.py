"""Submit, follow and read an Experiment through the Kubernetes API; a trial's command is really run."""

import math
import re
import threading
import time

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from simulation import katib as standin
from statemachine.contracts.errors import Misconfigured, OperationRefused, Unreachable
from training.tuning.experiment import Budget, experiment
from training.tuning.katib import Katib, optimum

BUDGET = Budget(parallel=2, trials=6, failed=1)


def invented(command):
    """A trial without training: best at a learning rate of 0.001 and 128 dimensions."""
    settings = dict(re.findall(r"--set=(\w+)=(\S+)", " ".join(command)))
    loss = abs(math.log10(float(settings["learning_rate"])) + 3) / 10 + abs(int(settings["hidden_dim"]) - 128) / 1000
    return f"noise\nval_auc_roc={0.99 - loss}\nval_average_precision=0.5\n"


def broken(command):
    raise OSError("no such image")


def connected(url, namespace="kubeflow"):
    return Katib(client.ApiClient(client.Configuration(host=url)), namespace)


@pytest.fixture
def manifest(settings, small):
    return experiment("fraud-tune-1", "s3://a/dataset", small, settings, budget=BUDGET)


def test_from_manifest_to_optimum(manifest):
    """Trials are seen as they come; the optimum is the best of them, as numbers."""
    with standin.serving(invented) as url:
        katib = connected(url)
        name = katib.submit(manifest)
        standings = list(katib.follow(name, pause=0.01))
    last = standings[-1]
    found = optimum(name, last)
    assert (last.trials, last.succeeded, last.failed, last.over) == (6, 6, 0, "Succeeded")
    assert [s.succeeded for s in standings] == sorted(s.succeeded for s in standings)
    assert max(s.running for s in standings) <= 2
    assert isinstance(found.parameters["hidden_dim"], int)
    assert isinstance(found.parameters["learning_rate"], float)
    assert found.value > 0.8
    assert found.source == "Katib experiment fraud-tune-1"


def test_too_many_failed_trials_are_a_failed_experiment(manifest):
    """No optimum is read from it, and the reason is Katib's."""
    with standin.serving(broken) as url:
        *_, last = connected(url).follow(connected(url).submit(manifest), pause=0.01)
    assert last.over == "Failed"
    with pytest.raises(OperationRefused, match="max failed count"):
        optimum("fraud-tune-1", last)


def test_a_name_that_is_taken_is_refused(manifest):
    """The first Experiment stays what it is."""
    with standin.serving(invented) as url:
        connected(url).submit(manifest)
        with pytest.raises(OperationRefused, match="already exists"):
            connected(url).submit(manifest)


def test_a_bad_manifest_is_not_even_sent(manifest):
    """It is refused without a cluster."""
    manifest["spec"]["algorithm"]["algorithmName"] = "bayesian"
    with pytest.raises(Misconfigured, match="bayesianoptimization"):
        connected("http://127.0.0.1:9").submit(manifest)


def test_an_experiment_that_is_not_there_is_refused():
    """With Kubernetes' own words."""
    with standin.serving(invented) as url, pytest.raises(OperationRefused, match="not found"):
        connected(url).standing("no-such")


def test_a_cluster_that_is_away_is_not_an_answer(manifest):
    """Whether it was created is not known."""
    katib = connected("http://127.0.0.1:9")
    katib.api.configuration.retries = False
    with pytest.raises(Unreachable):
        katib.submit(manifest)


def test_a_search_of_hours_is_not_given_up_for_a_restart_of_the_api_server(manifest):
    """Short outages and denials are tolerated; persistent ones are raised as they are."""
    back = threading.Event()

    def until_it_is_back(command):
        assert back.wait(60)
        return invented(command)

    with standin.serving(until_it_is_back) as url:
        katib, waited = connected(url), list[float]()
        name = katib.submit(manifest)
        read = katib.api.call_api

        def call_api(*arguments, **more):
            if 1 <= len(waited) <= 10:
                raise ApiException(status=503 if len(waited) < 5 else 403)
            return read(*arguments, **more)

        def sleep(_):
            waited.append(1)
            if len(waited) > 10:
                back.set()
            time.sleep(0.01)

        katib.api.call_api = call_api
        assert list(katib.follow(name, pause=10, sleep=sleep))[-1].over
        assert len(waited) > 10
        for status, kind in ((403, OperationRefused), (503, Unreachable)):
            katib.api.call_api = lambda *_, status=status, **__: raising(ApiException(status=status))
            waited.clear()
            with pytest.raises(kind, match=str(status)):
                list(katib.follow(name, pause=10, sleep=waited.append))
            assert sum(waited) == 120


def raising(error):
    raise error


@pytest.mark.xdist_group("tuning")
def test_a_trial_s_real_command_trains_and_is_collected(dataset, small, settings):
    """The manifest's own command, run as a process on real data, prints what the collector reads."""
    manifest = experiment("real", str(dataset), small, settings, budget=Budget(parallel=1, trials=1, failed=0))
    with standin.serving() as url:
        *_, last = connected(url).follow(connected(url).submit(manifest), pause=0.1)
    assert last.over == "Succeeded", last
    assert 0.5 < optimum("real", last).value <= 1.0
