"""Vendors' errors become one sentence with the next step; what was not foreseen keeps its traceback."""

import pytest
import requests
import urllib3
import valkey
from botocore import exceptions as aws
from kfp_server_api.exceptions import ApiException as KfpError
from kubernetes.client.exceptions import ApiException as KubernetesError
from kubernetes.config.config_exception import ConfigException

from cli.explain import DENIED, EXPIRED, sentence
from local.system import DidNotStart
from statemachine.contracts.errors import Misconfigured, Unreachable
from training.outcome import Permanent


def client_error(code, message="no"):
    return aws.ClientError({"Error": {"Code": code, "Message": message}}, "GetItem")


def refused():
    """What urllib3 raises when nobody listens."""
    with pytest.raises(urllib3.exceptions.MaxRetryError) as caught:
        urllib3.PoolManager(retries=0).request("GET", "http://127.0.0.1:9/apis")
    return caught.value


EXPLAINED = [
    *((client_error(code), "aws sso login") for code in sorted(EXPIRED)),
    *((client_error(code), "OperatorPolicyArn") for code in sorted(DENIED)),
    (client_error("Throttling"), "`fraudloop doctor`"),
    (aws.NoRegionError(), "AWS_REGION"),
    (aws.NoCredentialsError(), "aws sso login"),
    (aws.UnauthorizedSSOTokenError(), "aws sso login"),
    (aws.SSOTokenLoadError(error_msg="x"), "aws sso login"),
    (aws.TokenRetrievalError(provider="sso", error_msg="x"), "aws sso login"),
    (aws.ProfileNotFound(profile="x"), "AWS_PROFILE"),
    (aws.EndpointConnectionError(endpoint_url="https://x.example"), "https://x.example does not answer"),
    (aws.ConnectTimeoutError(endpoint_url="https://x.example"), "https://x.example does not answer"),
    (aws.ParamValidationError(report="x"), "`fraudloop doctor`"),
    (KfpError(401, "Unauthorized"), "FRAUDLOOP_KFP_TOKEN"),
    (KfpError(500, "Internal"), "KFP answers 500"),
    (KubernetesError(403, "Forbidden"), "the cluster answers 403"),
    (ConfigException("Invalid kube-config"), "aws eks update-kubeconfig"),
    (refused(), "nothing answers at http://127.0.0.1:9"),
    (requests.ConnectionError("refused"), "`fraudloop doctor`"),
    (valkey.ConnectionError("Error 111 connecting to 127.0.0.1:1"), "FRAUDLOOP_LIVE_URL"),
    (valkey.ResponseError("NOPERM this user has no permissions"), "FRAUDLOOP_LIVE_PASSWORD"),
    (FileNotFoundError(2, "No such file or directory", "a.csv"), "a.csv: no such file or directory"),
    (PermissionError(13, "Permission denied", "a.csv"), "a.csv: permission denied"),
    (ConnectionResetError("reset"), "`fraudloop doctor`"),
    (Permanent("a.csv: 3 rows repeat"), "a.csv: 3 rows repeat"),
    (Misconfigured("X is not set"), "X is not set"),
]


@pytest.mark.parametrize(("error", "part"), EXPLAINED, ids=lambda value: type(value).__name__)
def test_a_foreseen_error_is_one_line(monkeypatch, error, part):
    """With what to do next."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    explained = sentence(error)
    assert explained
    assert part in explained
    assert "\n" not in explained


def test_missing_credentials_are_told_as_that_whoever_wrapped_them(monkeypatch):
    """The adapters say "DynamoDB: …"; the next step is the login all the same."""
    wrapped = Unreachable("DynamoDB query: …")
    wrapped.__cause__ = client_error("ExpiredTokenException")
    assert "aws sso login" in (sentence(wrapped) or "")
    other = Unreachable("DynamoDB query: throttled")
    other.__cause__ = client_error("ThrottlingException")
    assert sentence(other) == "DynamoDB query: throttled"


def test_a_part_that_did_not_start_keeps_the_end_of_its_log():
    """Lines and all: it is what helps."""
    assert sentence(DidNotStart("kfp ended:\nline 1\nline 2")) == "kfp ended:\nline 1\nline 2"


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyError("x"), AssertionError(), BrokenPipeError(32, "pipe")])
def test_what_was_not_foreseen_is_not_told(error):
    """A bug of ours shows its traceback; a reader who went away is no error."""
    assert sentence(error) is None
