"""What any `Table` must do. Run against the fake and against DynamoDB (moto), word for word the same."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from statemachine.contracts.errors import Conflict, Impossible, Unreachable
from statemachine.contracts.limits import ITEM_BYTES, item_bytes
from statemachine.ports import Clause, Key, Put

ABSENT = Clause("it is new")
KEY = Key("RUN#a", "RUN")


def put(key=KEY, version=1, clause=ABSENT, writer="w1", **more):
    return Put(key, {"version": version, "writer": writer, **more}, clause)


def at_version(version):
    return Clause("it was not changed", "version", version)


def test_an_item_that_was_never_written_is_none(table):
    """Looked, and not there, is `None`."""
    assert table.get(KEY) is None


def test_values_come_back_as_they_went(table):
    """Strings, whole numbers, fractions and times of today survive, and keep their type."""
    table.write(put(text="ü+ b", whole=3, fraction=0.1, at=1795510051.123))
    item = table.get(KEY)
    assert (item["text"], item["whole"], item["fraction"], item["at"]) == ("ü+ b", 3, 0.1, 1795510051.123)


def test_absent_holds_once(table):
    """The second writer of a new item gets the name of the clause that failed."""
    table.write(put())
    with pytest.raises(Conflict, match="it is new"):
        table.write(put(writer="w2"))


def test_a_stale_version_is_refused(table):
    """A write that read an older version changes nothing."""
    table.write(put())
    table.write(put(version=2, clause=at_version(1), writer="w2"))
    with pytest.raises(Conflict, match="it was not changed"):
        table.write(put(version=2, clause=at_version(1), writer="w3"))
    assert table.get(KEY)["writer"] == "w2"


def test_a_version_clause_on_nothing_is_refused(table):
    """An item that is gone is not one that was not changed."""
    with pytest.raises(Conflict):
        table.write(put(version=2, clause=at_version(1)))


def test_our_own_lost_answer_is_success(table):
    """Writing the same again after an answer was lost is no conflict: the item there carries our token."""
    table.write(put())
    table.write(put())


def test_our_own_lost_transaction_is_success(table):
    """The same for transactions."""
    both = (put(), put(Key("RUN#a", "HISTORY#1")))
    table.write(*both)
    table.write(*both)


def test_a_transaction_is_all_or_nothing(table):
    """One clause that does not hold, and nothing is written; the conflict names that clause only."""
    table.write(put())
    other = Key("RUN#b", "RUN")
    with pytest.raises(Conflict) as conflict:
        table.write(put(other, clause=Clause("b is new"), writer="w2"), put(writer="w2"))
    assert conflict.value.clause == "it is new"
    assert table.get(other) is None


def test_a_query_is_one_partition_in_order(table):
    """Only the partition, only the prefix, in key order or newest first."""
    for sk in ("HISTORY#2", "HISTORY#1", "RUN"):
        table.write(put(Key("RUN#a", sk), name=sk))
    table.write(put(Key("RUN#b", "HISTORY#9"), name="other"))
    assert [item["name"] for item in table.query("RUN#a", "HISTORY#")] == ["HISTORY#1", "HISTORY#2"]
    assert [item["name"] for item in table.query("RUN#a", newest_first=True)] == ["RUN", "HISTORY#2", "HISTORY#1"]


def test_long_queries_come_whole(table):
    """More than DynamoDB's megabyte a page still comes whole."""
    for number in range(14):
        table.write(put(Key("OBJECTS#m", f"{number:03d}"), text="x" * 100_000))
    assert len(list(table.query("OBJECTS#m"))) == 14


def test_only_runs_in_the_index_are_due(table):
    """The index is sparse: an item without `due_at` is not in it; one in the future is not due."""
    table.write(put(Key("RUN#a", "RUN"), due_shard="DUE#1", due_at=10.0, run_id="a"))
    table.write(put(Key("RUN#b", "RUN"), due_shard="DUE#3", due_at=20.0, run_id="b"))
    table.write(put(Key("RUN#c", "RUN"), run_id="c"))
    assert list(table.due(9.0)) == []
    assert list(table.due(10.0)) == ["a"]
    assert sorted(table.due(30.0)) == ["a", "b"]


def test_an_item_that_rests_leaves_the_index(table):
    """Writing the run without `due_at` takes it out."""
    table.write(put(due_shard="DUE#1", due_at=10.0, run_id="a"))
    table.write(put(version=2, clause=at_version(1), writer="w2"))
    assert list(table.due(99.0)) == []


def test_of_many_writers_one_wins(table):
    """Optimistic increments by four threads: none is lost."""
    table.write(put(count=0))

    def increment(worker):
        done = 0
        while done < 10:
            item = table.get(KEY)
            try:
                table.write(
                    put(
                        version=item["version"] + 1,
                        clause=at_version(item["version"]),
                        writer=f"{worker}-{done}-{item['version']}",
                        count=item["count"] + 1,
                    )
                )
            except Conflict:
                continue
            done += 1

    if hasattr(table, "items"):  # the fake is for one thread, by design
        for worker in range(4):
            increment(worker)
    else:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(increment, range(4)))
    assert table.get(KEY)["count"] == 40


# "Service, account, and table quotas in Amazon DynamoDB": 400 KB an item with its names; 100 items and 4 MB a
# transaction. moto holds transactions to none of them.


def filled(size, number=0):
    """A put whose item has exactly `size` bytes."""
    empty = put(Key("RUN#a", f"{number:03d}"), text="")
    return put(empty.key, text="x" * (size - item_bytes(empty.attributes)))


def test_the_largest_item_is_taken(table):
    """Names and keys counted. DynamoDB's limit is 409,600 bytes, moto's 405,000."""
    table.write(*(filled(405_000, number) for number in range(10)))


@pytest.mark.parametrize("alone", [True, False])
def test_an_item_beyond_the_limit_is_impossible(table, alone):
    """A byte more, in a transaction or not: nothing is written, and trying again would not help."""
    puts = [filled(ITEM_BYTES + 1), *([] if alone else [put(Key("RUN#b", "RUN"))])]
    with pytest.raises(Impossible, match="409601 bytes"):
        table.write(*puts)
    assert table.get(Key("RUN#b", "RUN")) is None


def test_bytes_count_and_not_characters(table):
    """200,000 umlauts are 400,000 bytes; 205,000 are too many."""
    table.write(put(text="ü" * 200_000))
    with pytest.raises(Impossible):
        table.write(put(Key("RUN#b", "RUN"), text="ü" * 205_000))


def test_a_transaction_beyond_the_limits_is_impossible(table):
    """101 items, or more than 4 MB."""
    with pytest.raises(Impossible, match="101 items"):
        table.write(*(put(Key("RUN#a", str(number))) for number in range(101)))
    with pytest.raises(Impossible, match="a transaction of"):
        table.write(*(filled(ITEM_BYTES, number) for number in range(11)))


def test_text_that_is_not_unicode_is_impossible(table):
    """A lone surrogate has no bytes."""
    with pytest.raises(Impossible, match="not Unicode"):
        table.write(put(text="\ud800"))


@pytest.mark.parametrize("code", ["ValidationException", "TransactionCanceledException"])
@pytest.mark.parametrize("table", ["dynamodb"], indirect=True)
def test_a_write_that_dynamodb_calls_invalid_is_impossible(table, monkeypatch, code):
    """Whatever limit it is that we do not know of: it is never tried again as an outage would be."""
    cancelled = {"CancellationReasons": [{"Code": "ValidationError"}, {"Code": "None"}]}

    def refuse(**_):
        raise ClientError({"Error": {"Code": code, "Message": "Item size exceeded"}, **cancelled}, "TransactWriteItems")

    monkeypatch.setattr(table.client, "transact_write_items", refuse)
    with pytest.raises(Impossible, match="Item size exceeded"):
        table.write(put(), put(Key("RUN#b", "RUN")))


@pytest.mark.parametrize("table", ["dynamodb"], indirect=True)
def test_a_write_that_botocore_refuses_is_impossible(table):
    """ParamValidationError: nothing is sent."""
    with pytest.raises(Impossible):
        table.write(Put(KEY, {"version": 1, "writer": b"bytes"}, ABSENT))


@pytest.mark.parametrize("table", ["dynamodb"], indirect=True)
def test_an_unanswered_write_is_unreachable(table, monkeypatch):
    """Not knowing is not a conflict: the caller must not conclude anything."""

    def dropped(**_):
        raise ConnectionClosedError(endpoint_url="http://loopback")

    monkeypatch.setattr(table.client, "put_item", dropped)
    with pytest.raises(Unreachable):
        table.write(put())


@pytest.mark.parametrize("table", ["dynamodb"], indirect=True)
def test_a_table_that_is_not_there_is_unreachable_not_empty(table):
    """Failing to look never reads as "not there"."""
    table.client.delete_table(TableName=table.name)
    with pytest.raises(Unreachable):
        table.get(KEY)


def test_a_range_is_from_its_first_to_its_last_key_in_the_order_of_their_bytes(table):
    """Both ends belong to it; upper case comes before lower case, and both before what is not ASCII."""
    for name in ("b", "a", "ü", "B", "a/1", "c"):
        table.write(put(Key("KEYS#m", name), name=name))
    table.write(put(Key("KEYS#n", "b"), name="of another model"))
    assert [item["name"] for item in table.between("KEYS#m", "B", "b")] == ["B", "a", "a/1", "b"]
    assert [item["name"] for item in table.between("KEYS#m", "a/", "ü")] == ["a/1", "b", "c", "ü"]
    assert list(table.between("KEYS#m", "d", "e")) == []


def test_the_longest_key_of_s3_is_a_sort_key(table):
    """1,024 bytes is the most for both."""
    longest = "ü" * 512
    table.write(put(Key("KEYS#m", longest), name="longest"))
    assert table.get(Key("KEYS#m", longest))["name"] == "longest"
