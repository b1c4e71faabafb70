"""Kubeflow Pipelines' API as commands ask it: connect, and list everything that there is, page by page."""

from collections.abc import Callable, Iterator
from typing import Any

import kfp_server_api

from statemachine.contracts.errors import Malformed

PATIENCE = (5.0, 30.0)  # seconds to connect, to read
PAGE = 200  # the most that the server gives at a time


def connect(url: str, token: str = "", ca: str = "") -> kfp_server_api.ApiClient:
    """The API at `url`, with a token in multi-user mode; `ca` is the PEM file of a private certificate authority."""
    configuration = kfp_server_api.Configuration(host=url.rstrip("/"))
    configuration.ssl_ca_cert = ca or None
    made = kfp_server_api.ApiClient(configuration)
    if token:
        made.default_headers["Authorization"] = f"Bearer {token}"
    return made


def every(call: Callable[..., Any], items: str, *arguments: Any, **options: Any) -> Iterator[Any]:
    """All `items` of a list call, whatever number of pages they take.

    Raises:
        Malformed: the server gives the same page token twice, so there would be no end.
    """
    seen, token = set(), ""
    while True:
        page = call(*arguments, page_size=PAGE, page_token=token, _request_timeout=PATIENCE, **options)
        yield from getattr(page, items) or ()
        token = page.next_page_token or ""
        if not token:
            return
        if token in seen:
            raise Malformed(f"KFP gives the page token {token!r} twice")
        seen.add(token)


def experiment(api: kfp_server_api.ApiClient, name: str, namespace: str) -> str:
    """The id of the experiment of this name; "" if there is none."""
    call = kfp_server_api.ExperimentServiceApi(api).experiment_service_list_experiments
    found = (e.experiment_id for e in every(call, "experiments", namespace=namespace) if e.display_name == name)
    return str(next(found, ""))
