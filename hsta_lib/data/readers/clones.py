"""Public repositories of others, which a user has cloned side by side, and the commands that mend them."""

from pathlib import Path

from hsta_lib import ROOT

# Folder of a clone to its repository and the commit that was read here; nothing of them is copied.
CLONES = {
    "HTNet": ("wangzhifengharrison/HTNet", "91cf4bda0a2db50d638d46c04c5d7cf3b602d446"),
    "CausalNet": ("tony19980810/CausalNet", "7bdf163face030eeae4358fc7638cf538305acce"),
    "CAS-ME-3": ("jingtingEmmaLi/CAS-ME-3", "9e25aa9eecd55a654da5ead4938f8409e80bb04e"),
    "STSTNet": ("christy1206/STSTNet", "1afb56e670ee1d4f9864d21e43cfd95a291864e4"),
}


def given_folder(path):
    """A folder as a user gives it; a relative one that is not here is looked for at the repository's root."""
    path = Path(path).expanduser()
    return path if path.exists() or path.is_absolute() else ROOT / path


def repair(folder, name):
    """The command that makes a clone whole, or brings it."""
    repository, commit = CLONES[name]
    if (folder / ".git").exists():
        return f"git -C {folder} fetch origin {commit} && git -C {folder} checkout --force {commit}"
    return f"git clone https://github.com/{repository} {folder}"


def find(folder, name, inner):
    """Path of a file or folder of a clone, ``inner``; a FileNotFoundError gives the command that brings it.

    ``folder`` (Path): of the clone, which is ``name`` in `CLONES`.
    """
    if (folder / inner).exists():
        return folder / inner
    raise FileNotFoundError(
        f"{folder / inner} is not there; {CLONES[name][0]} has it: {repair(folder, name)}"
    )
