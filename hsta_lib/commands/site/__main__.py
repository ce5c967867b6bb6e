"""Write the site: ``hsta-site [--output site]``, also ``python -m hsta_lib.commands.site``."""

import argparse
import sys
from pathlib import Path

from hsta_lib import ROOT


def main(arguments=None):
    """Write the site of the reports; one line where a report cannot be shown."""
    parser = argparse.ArgumentParser(prog="hsta-site", description="Write the reports as web pages.")
    parser.add_argument("--output", type=Path, default=ROOT / "site", help="folder of the site (site)")
    output = parser.parse_args(arguments).output
    print("Writing the reports and docs as web pages", file=sys.stderr, flush=True)
    from hsta_lib.commands.site.index import build  # for seconds

    try:
        build(ROOT / "reports", output)
    except ValueError as error:
        sys.exit(f"No site was written. {error}")
    print(f"The site is {output}/index.html; open it in a browser")


if __name__ == "__main__":
    main()
