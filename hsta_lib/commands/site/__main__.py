"""Write the site: ``hsta-site [--output site]``, also ``python -m hsta_lib.commands.site``."""

import argparse
import sys
from pathlib import Path

from hsta_lib import ROOT
from hsta_lib.commands.site.index import build


def main(arguments=None):
    """Write the site of the reports; one line where a report cannot be shown."""
    parser = argparse.ArgumentParser(prog="hsta-site", description="Write the reports as web pages.")
    parser.add_argument("--output", type=Path, default=ROOT / "site", help="folder of the site (site)")
    output = parser.parse_args(arguments).output
    try:
        build(ROOT / "reports", output)
    except ValueError as error:
        sys.exit(f"No site was written. {error}")
    print(f"The site is {output}/index.html; open it in a browser")


if __name__ == "__main__":
    main()
