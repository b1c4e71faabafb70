"""The table in DynamoDB: consistent reads, conditional and transactional writes, one sparse index."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from statemachine.contracts.errors import Conflict, Impossible, Malformed, Unreachable
from statemachine.contracts.limits import check_write
from statemachine.ports import SHARDS, Clause, Item, Key, Put

DUE_INDEX = "due"

SCHEMA: dict[str, Any] = {
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "AttributeDefinitions": [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "sk", "AttributeType": "S"},
        {"AttributeName": "due_shard", "AttributeType": "S"},
        {"AttributeName": "due_at", "AttributeType": "N"},
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": DUE_INDEX,
            "KeySchema": [
                {"AttributeName": "due_shard", "KeyType": "HASH"},
                {"AttributeName": "due_at", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["run_id"]},
        }
    ],
    "BillingMode": "PAY_PER_REQUEST",
    "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
}


TORN = "FraudloopTorn"
NEVER = frozenset({"ValidationException", "ValidationError", "ItemCollectionSizeLimitExceededException"})


def _note_torn(response_dict: Mapping[str, Any], parsed_response: Any, **_: Any) -> None:
    """Mark a truncated response.

    botocore detects it by the checksum and retries, but returns the last try all the same: as an empty response, which
    would read as "not found".
    """
    length = (response_dict or {}).get("headers", {}).get("Content-Length")
    if parsed_response is not None and length is not None and len(response_dict["body"]) < int(length):
        parsed_response["ResponseMetadata"][TORN] = True


@dataclass(frozen=True)
class DynamoTable:
    """`Table` on a botocore (or boto3) DynamoDB client."""

    client: Any
    name: str

    def __post_init__(self) -> None:
        """Register the hook that marks truncated responses."""
        self.client.meta.events.register("response-received.dynamodb", _note_torn, unique_id=TORN)

    def get(self, key: Key) -> Item | None:
        """The item, read consistently."""
        answer = self._call("get_item", Key=_key(key), ConsistentRead=True)
        return plain(answer["Item"]) if "Item" in answer else None

    def query(self, pk: str, prefix: str = "", *, newest_first: bool = False) -> Iterator[Item]:
        """The items of a partition, page by page."""
        condition = "pk = :pk" + (" AND begins_with(sk, :sk)" if prefix else "")
        values = {":pk": {"S": pk}} | ({":sk": {"S": prefix}} if prefix else {})
        yield from self._pages(
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            ScanIndexForward=not newest_first,
            ConsistentRead=True,
        )

    def between(self, pk: str, first: str, last: str) -> Iterator[Item]:
        """The items of a range of sort keys, page by page."""
        yield from self._pages(
            KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={":pk": {"S": pk}, ":first": {"S": first}, ":last": {"S": last}},
            ConsistentRead=True,
        )

    def due(self, now: float) -> Iterator[str]:
        """The ids of due runs, from the sparse index: terminal runs are not in it."""
        for shard in range(SHARDS):
            for item in self._pages(
                IndexName=DUE_INDEX,
                KeyConditionExpression="due_shard = :shard AND due_at <= :now",
                ExpressionAttributeValues={":shard": {"S": f"DUE#{shard}"}, ":now": {"N": repr(now)}},
            ):
                yield str(item["run_id"])

    def write(self, *puts: Put) -> None:
        """All of it or nothing. A failed clause over an item with our own token means a lost response: success."""
        check_write([(put.key.pk, put.attributes) for put in puts])
        try:
            if len(puts) == 1:
                self.client.put_item(TableName=self.name, **_put(puts[0]))
            else:
                self.client.transact_write_items(
                    TransactItems=[{"Put": {"TableName": self.name, **_put(put)}} for put in puts]
                )
        except ClientError as error:
            failed = _failed(error, puts)
            if any(plain(item).get("writer") == put.item["writer"] for put, item in failed if item):
                return
            clauses = ", ".join(put.clause.name for put, _ in failed)
            raise Conflict(clauses or "nobody else is writing this", _keys(failed)) from error
        except ParamValidationError as error:
            raise Impossible(f"DynamoDB cannot be asked for this write: {error}") from error
        except BotoCoreError as error:
            raise Unreachable(f"DynamoDB: {error}") from error

    def _pages(self, **query: Any) -> Iterator[Item]:
        start: dict[str, Any] = {}
        while True:
            answer = self._call("query", **query, **start)
            for item in answer["Items"]:
                yield plain(item)
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _call(self, operation: str, **arguments: Any) -> Any:
        try:
            answer = getattr(self.client, operation)(TableName=self.name, **arguments)
        except ParamValidationError as error:
            raise Malformed(f"DynamoDB {operation} cannot be asked for: {error}") from error
        except (ClientError, BotoCoreError) as error:
            raise Unreachable(f"DynamoDB {operation}: {error}") from error
        if answer["ResponseMetadata"].get(TORN):
            raise Unreachable(f"DynamoDB {operation}: the answer did not arrive whole")
        return answer


def _failed(error: ClientError, puts: tuple[Put, ...]) -> list[tuple[Put, Mapping[str, Any] | None]]:
    """The puts whose clause did not hold, each with what lies there.

    Raises:
        Impossible: DynamoDB says that this write is not valid.
        Unreachable: any other error.
    """
    code = error.response["Error"]["Code"]
    if code == "ConditionalCheckFailedException":
        return [(puts[0], error.response.get("Item"))]
    reasons = error.response.get("CancellationReasons", [])
    codes = [reason.get("Code") for reason in reasons]
    if code == "TransactionCanceledException" and "ConditionalCheckFailed" in codes:
        pairs = zip(puts, reasons, strict=True)
        return [(put, reason.get("Item")) for put, reason in pairs if reason.get("Code") == "ConditionalCheckFailed"]
    if code == "TransactionCanceledException" and "TransactionConflict" in codes:
        return []
    if code in ("TransactionConflictException", "TransactionInProgressException"):
        return []
    message = f"DynamoDB write: {code}: {error.response['Error'].get('Message', '')}"
    if code in NEVER or (code == "TransactionCanceledException" and NEVER.intersection(codes)):
        raise Impossible(message) from error
    raise Unreachable(message) from error


def _put(put: Put) -> dict[str, Any]:
    return {
        "Item": {name: typed(value) for name, value in put.attributes.items()},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        **_condition(put.clause),
    }


def _condition(clause: Clause) -> dict[str, Any]:
    if not clause.attribute:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    return {
        "ConditionExpression": "#attribute = :value",
        "ExpressionAttributeNames": {"#attribute": clause.attribute},
        "ExpressionAttributeValues": {":value": typed(clause.value)},
    }


def _key(key: Key) -> dict[str, Any]:
    return {"pk": {"S": key.pk}, "sk": {"S": key.sk}}


def _keys(failed: list[tuple[Put, Mapping[str, Any] | None]]) -> str:
    return ", ".join(f"{put.key.pk}/{put.key.sk}" for put, _ in failed)


def typed(value: str | int | float) -> dict[str, str]:
    """A value as DynamoDB types it. Only text and numbers: the rest of a record is JSON text in `body`."""
    return {"S": value} if isinstance(value, str) else {"N": repr(value)}


def plain(item: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """An item as it was before it was typed."""
    return {name: _number(value["N"]) if "N" in value else next(iter(value.values())) for name, value in item.items()}


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)
