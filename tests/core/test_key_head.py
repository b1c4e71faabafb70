"""Which write of a key is new, and what the head remembers."""

from dataclasses import replace

from statemachine.core.head import RECENT, Head, advanced, joined
from statemachine.core.window import Object


def write(etag: str, number: int, **more: object) -> Object:
    return Object("data", "k", etag, sequencer=f"{number:04x}", arrived_at=float(number), **more)  # type: ignore[arg-type]


def after(head: Head, obj: Object, **more: float) -> Head:
    pair = joined(head, obj, 1, **more)
    assert pair is not None
    return pair[0]


def test_the_head_remembers_a_bounded_number_of_writes() -> None:
    """A key that is overwritten each hour does not grow its item; an event older than all it knows is passed over."""
    head = Head("k")
    for number in range(1, 101):
        head = after(head, write(f"e{number}", number))
    assert (len(head.writes), head.made, head.writes[0].etag) == (RECENT, 100, "e100")
    assert joined(head, write("early", 0), 2) is None


def test_no_two_writes_have_one_identity() -> None:
    """Also when the content returns after the head has forgotten its first write."""
    head, observed = Head("k"), set()
    for number in range(1, 61):
        pair = joined(head, write("AB"[number % 2], number), 1)
        assert pair is not None
        head, obj = pair
        observed.add(obj.identity)
    assert len(observed) == 60


def test_the_first_write_of_a_content_has_the_identity_of_earlier_releases() -> None:
    """Bucket, key and etag: what a verdict names."""
    obj = write("A", 1)
    pair = joined(Head("k"), obj, 1)
    assert pair is not None
    assert pair[1].identity == obj.content


def test_a_late_write_is_put_behind_and_says_whom() -> None:
    """It knows the newer one that was on record before it, and the order tells them apart."""
    head = after(after(Head("k"), write("A", 1)), write("C", 3))
    pair = joined(head, write("B", 2), 5)
    assert pair is not None
    head, late = pair
    assert [each.etag for each in head.writes] == ["C", "B", "A"]
    assert (late.under, late.over) == (head.writes[0].place, head.writes[2].place)
    assert head.writes[0].order > late.order > head.writes[2].order


def test_content_that_is_written_again_moves_the_newest_write() -> None:
    """So that what lies between the two is older than it. The same event again moves nothing, a listing neither."""
    head = after(Head("k"), write("A", 1))
    moved = advanced(head, write("A", 4))
    assert moved is not None
    assert moved.version == head.version + 1
    assert advanced(moved, write("A", 4)) is None
    assert advanced(moved, write("A", 2)) is None
    assert advanced(moved, replace(write("A", 5), sequencer="")) is None
    assert [each.etag for each in after(moved, write("B", 3)).writes] == ["A", "B"]


def test_a_listing_says_what_the_key_holds_now() -> None:
    """It overrules a write that came a while before it, and no write that may have come after it."""
    head, listed = after(Head("k"), write("A", 1000)), replace(write("B", 1001), sequencer="")
    assert joined(head, listed, 1, listed_at=1200) is not None
    assert joined(head, listed, 1, listed_at=1030) is None
    assert joined(head, replace(listed, etag="A"), 1, listed_at=1200) is None
