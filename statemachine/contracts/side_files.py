"""Which keys under a prefix are other programs' side files: Spark's, Hive's, Databricks'."""

SIDE_FILES = ("._COPYING_", ".crc", "_$folder$")


def side_file(key: str, prefix: str, marker: str = "") -> str:
    """The part of a key below `prefix` by which it is no data but another program's side file; "" if it is data.

    The rule is Spark's own for what it does not read (`HadoopFSUtils.shouldFilterOutPathName`): names that begin with
    `.`, or with `_` unless they hold a `=` (a partition), or end in `._COPYING_`. Checksums and EMR's folder markers
    are added. A name that is all of `marker` is no side file, unless it lies in a hidden folder.
    """
    names = key.split("/")[prefix.count("/") + (0 if prefix.endswith("/") or not prefix else 1) :]
    if names and names[-1] == marker:
        names.pop()
    return next((name for name in names if _hidden(name)), "")


def _hidden(name: str) -> bool:
    return name.startswith(".") or (name.startswith("_") and "=" not in name) or name.endswith(SIDE_FILES)
