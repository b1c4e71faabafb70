"""Slack's incoming webhook."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from statemachine.contracts.errors import Unreachable

TIMEOUT = 3.0


@dataclass(frozen=True)
class SlackWebhook:
    """The Slack channel for messages, if one is configured (`wanted`). `address` returns the webhook, a secret."""

    address: Callable[[], str]
    wanted: bool = True

    def post(self, text: str) -> None:
        """Tell it. Raises `Unreachable`, without the webhook's address in it."""
        quiet = {"unfurl_links": False, "unfurl_media": False}  # nobody's server is asked about an address in a reason
        body = json.dumps({"text": text, **quiet}).encode()
        try:
            request = urllib.request.Request(self.address(), body, {"Content-Type": "application/json"})
            urllib.request.urlopen(request, timeout=TIMEOUT).close()
        except urllib.error.HTTPError as error:
            error.close()
            raise Unreachable(f"Slack answered {error.code}") from None
        except (OSError, ValueError) as error:  # a ValueError's text would quote the address
            raise Unreachable(f"Slack did not answer: {type(error).__name__}") from None
