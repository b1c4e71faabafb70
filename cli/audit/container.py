"""The audit file's container: an uncompressed zip whose bytes follow from its files, so any other byte is noticed."""

import io
import zipfile
from collections.abc import Mapping

from statemachine.contracts.errors import Malformed

ENVELOPE = "envelope.json"
MOST_FILES = 2000
MOST_BYTES = 512 * 1024 * 1024
DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say


def pack(files: Mapping[str, bytes]) -> bytes:
    """The zip of these files; equal files, equal bytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, body in sorted(files.items()):
            entry = zipfile.ZipInfo(name, DATE)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, body)
    return made.getvalue()


def unpack(body: bytes) -> dict[str, bytes]:
    """The files of an audit file.

    Raises:
        Malformed: it is no zip, is larger than an audit file may be, or is not byte for byte what `pack` makes of them.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_FILES or sum(entry.file_size for entry in entries) > MOST_BYTES:
                raise Malformed(f"it is too large: more than {MOST_FILES} files, or than {MOST_BYTES} bytes")
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise Malformed("its files are compressed, which those of an audit file are not")
            files = {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, RuntimeError, EOFError) as error:
        raise Malformed(f"it is no audit file: {error}") from error
    if pack(files) != body:
        raise Malformed("its bytes are not those that its files give: something around them was added or changed")
    return files
