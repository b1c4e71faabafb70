"""What a deployed stack says of itself: its outputs are the settings of the same name."""

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from statemachine.contracts.errors import Misconfigured

NAMED = "FRAUDLOOP_STACK"


def settings(stack: str, cloudformation: Any) -> Mapping[str, str]:
    """The outputs as environment variables: FraudloopTable is FRAUDLOOP_TABLE.

    Raises:
        Misconfigured: there is no such stack in this account and region.
    """
    try:
        (found,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        raise Misconfigured(
            f"the stack {stack} does not tell its outputs: {error}; name a deployed one by {NAMED}"
        ) from error
    return {variable(output["OutputKey"]): output["OutputValue"] for output in found.get("Outputs", ())}


def variable(output: str) -> str:
    """`FraudloopHintsQueueUrl` → `FRAUDLOOP_HINTS_QUEUE_URL`."""
    return "".join(f"_{c}" if c.isupper() and n else c.upper() for n, c in enumerate(output)).upper()
