"""KFP's lists are walked to their end: what is on the second page is there, too."""

from types import SimpleNamespace

import kfp_server_api
import pytest

from clients import kfp
from local.kfp import EmbeddedKFP
from statemachine.contracts.errors import Malformed


def paged(*pages):
    """A list call that gives these pages, by tokens "1", "2", …"""

    def call(page_size, page_token, _request_timeout):
        number = int(page_token or 0)
        more = str(number + 1) if number + 1 < len(pages) else None
        return SimpleNamespace(runs=pages[number], next_page_token=more)

    return call


def test_every_page_is_read_and_an_empty_one_ends_nothing():
    """A page may be empty or null and yet have a next one."""
    assert list(kfp.every(paged([1, 2], [], None, [3]), "runs")) == [1, 2, 3]
    assert list(kfp.every(paged(None), "runs")) == []


def test_a_server_that_repeats_itself_ends_with_a_reason():
    """No list is without end."""
    with pytest.raises(Malformed, match="twice"):
        list(kfp.every(lambda **_: SimpleNamespace(runs=[1], next_page_token="same"), "runs"))


def test_an_experiment_of_the_second_page_is_found(tmp_path, monkeypatch):
    """Shared KFPs have many; the first page was all that was looked at."""
    endpoint = EmbeddedKFP(tmp_path, tick=0).start()
    try:
        monkeypatch.setattr(kfp, "PAGE", 2)
        api = kfp.connect(endpoint.url + "/", token="t")
        made = {}
        for number in range(5):
            body = kfp_server_api.V2beta1Experiment(display_name=f"e{number}", namespace="kubeflow")
            answer = kfp_server_api.ExperimentServiceApi(api).experiment_service_create_experiment(body)
            made[f"e{number}"] = answer.experiment_id
        assert {name: kfp.experiment(api, name, "kubeflow") for name in made} == made
        assert kfp.experiment(api, "other", "kubeflow") == ""
        assert api.default_headers["Authorization"] == "Bearer t"
    finally:
        endpoint.stop()
