"""EventBridge Scheduler: a schedule is read and written back whole, since an update resets what it does not name."""

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from statemachine.contracts.errors import Unknown, Unreachable

# All that UpdateSchedule takes besides `State` and `ClientToken`.
KEPT = (
    "Name",
    "GroupName",
    "ScheduleExpression",
    "ScheduleExpressionTimezone",
    "StartDate",
    "EndDate",
    "Description",
    "KmsKeyArn",
    "Target",
    "FlexibleTimeWindow",
    "ActionAfterCompletion",
)


def get(client: Any, name: str, group: str = "default") -> Mapping[str, Any]:
    """The schedule as it is. Raises Unknown, Unreachable."""
    try:
        found: Mapping[str, Any] = client.get_schedule(Name=name, GroupName=group)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            raise Unknown(f"there is no EventBridge schedule {name!r}; name yours by --nightly") from error
        raise Unreachable(f"EventBridge Scheduler: {error}") from error
    except BotoCoreError as error:
        raise Unreachable(f"EventBridge Scheduler: {error}") from error
    return found


def switch(client: Any, name: str, on: bool, group: str = "default") -> None:
    """Enable or disable a schedule; everything else of it stays. Raises Unknown, Unreachable."""
    found = get(client, name, group)
    kept = {field: found[field] for field in KEPT if found.get(field) is not None}
    try:
        client.update_schedule(**kept, State="ENABLED" if on else "DISABLED")
    except (ClientError, BotoCoreError) as error:
        raise Unreachable(f"EventBridge Scheduler: {error}") from error
