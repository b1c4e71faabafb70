"""Characters that a terminal or a chat may take for a command, or that hide what a text says."""

import re

# C0 and C1 controls (ESC, OSC, CSI) but the line break, DEL, soft hyphen, marks of direction, separators of lines,
# zero-width characters but the joiners, lone surrogates (which cannot even be written).
UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def clean(text: str) -> str:
    """The text with each unsafe character written out, `\\x1b`; line breaks stay."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)
