"""A client of the online store for work that may wait: materialise, and the deletion of an entity."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import valkey
from valkey.exceptions import NoScriptError

from training.data.declaration import Declaration
from training.live.definition import LiveDefinition
from training.live.keys import Names
from training.live.settings import LiveSettings
from training.outcome import Transient

SECONDS = 30.0  # for one answer of the store


@contextmanager
def opened(settings: LiveSettings) -> Iterator[Any]:
    """A client that is closed at the end. Raises Transient: the store does not answer, or refuses."""
    store: Any = valkey.Valkey.from_url(
        settings.url, password=settings.password or None, socket_timeout=SECONDS, socket_connect_timeout=SECONDS
    )
    try:
        yield store
    except (valkey.ConnectionError, valkey.TimeoutError) as error:
        raise Transient(f"the online store does not answer: {error}") from error
    except NoScriptError as error:
        raise Transient("the online store was restarted, or replaced, meanwhile") from error
    except valkey.ResponseError as error:
        raise Transient(f"the online store refuses: {error}") from error
    finally:
        store.close()


def definitions(store: Any, model: str, data: Declaration) -> dict[str, LiveDefinition]:
    """Those that were materialised, by digest, as far as they are of this declaration and code."""
    told = store.hgetall(Names(model).definitions)
    made = {digest.decode(): LiveDefinition(data, json.loads(value)["k"]) for digest, value in told.items()}
    return {digest: one for digest, one in made.items() if one.digest == digest}
