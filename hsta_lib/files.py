"""Files written whole or not at all, and their digests."""

import hashlib
import os
import uuid


def write_whole(path, content):
    """Write a file that appears under its name only when it is complete.

    Parameters
    ----------
    path : Path
        Its folder is made if it is not there.
    content : str or bytes
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def file_digest(path):
    """SHA-256 of a file's bytes, as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
