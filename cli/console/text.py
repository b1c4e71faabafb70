"""What may stand on a page: text without control characters, clipped, and with no card number in clear."""

import re
from typing import Any

from markupsafe import Markup

from statemachine.contracts.limits import clipped
from statemachine.core.characters import clean

LONGEST = 4000  # characters of one value on a page
DIGITS = re.compile(r"(?<![0-9A-Za-z])\d(?:[ -]?\d){12,18}(?![0-9A-Za-z])")  # ISO/IEC 7812: 13 to 19 digits
# The issuers' ranges and lengths, so that times and counters are not taken for cards: Visa, Mastercard, American
# Express, Diners Club, JCB, Discover, UnionPay, Maestro, Mir.
CARD = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}|3[0689]\d{12}"
    r"|35(?:2[89]|[3-8]\d)\d{12,15}|6(?:011|4[4-9]\d|5\d\d|2\d\d)\d{12,15}|(?:50|5[6-9]|6\d)\d{11,17}|220[0-4]\d{12,15}"
)


def fit(value: Any) -> Any:
    """The value as a page shows it; numbers and markup of our own as they are. Escaping is the template's."""
    if isinstance(value, Markup) or value is None or isinstance(value, int | float):
        return value
    return DIGITS.sub(_masked, clean(clipped(str(value), LONGEST)))


def _masked(found: re.Match[str]) -> str:
    digits = re.sub(r"\D", "", found[0])
    return f"•••• {digits[-4:]}" if CARD.fullmatch(digits) and _luhn(digits) else found[0]


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B: every second digit from the right doubled, the digits' sum divisible by ten."""
    worth = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 * (value > 9) for value in worth) % 10 == 0
