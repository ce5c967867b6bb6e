"""``hsta-notebooks DIR``: the notebooks of an installed library, copied to where they are to be used."""

import argparse
import shutil
from pathlib import Path

from hsta_lib import SHIPPED


def main(arguments=None):
    """Copy the notebooks into a folder; none that is there is replaced."""
    parser = argparse.ArgumentParser(prog="hsta-notebooks", description=__doc__.partition(": ")[2])
    parser.add_argument("folder", type=Path, help="made if it is not there")
    folder = parser.parse_args(arguments).folder
    there = [path.name for path in _notebooks() if (folder / path.name).exists()]
    if there:
        parser.error(f"{folder / there[0]} is there already; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path in _notebooks():
        shutil.copy(path, folder)
    print(f"{len(_notebooks())} notebooks are in {folder}; data/ and results/ come into the working folder")
    print(f"papermill {folder / 'table4.ipynb'} table4.ipynb -p preset smoke runs one in a minute")


def _notebooks():
    return sorted((SHIPPED / "notebooks").glob("*.ipynb"))


if __name__ == "__main__":
    main()
