"""``python -m hsta_lib.score``, the name by which users know `hsta_lib.commands.score`."""

from hsta_lib.commands.score import main

if __name__ == "__main__":
    raise SystemExit(main())
