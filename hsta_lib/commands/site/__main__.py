"""Write the site: ``python -m hsta_lib.commands.site [--output site]``."""

import argparse
import sys
from pathlib import Path

from hsta_lib import ROOT
from hsta_lib.commands.site.index import build

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m hsta_lib.commands.site", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "site", help="folder of the site (site)")
    output = parser.parse_args().output
    try:
        build(ROOT / "reports", output)
    except ValueError as error:
        sys.exit(f"No site was written. {error}")
    print(f"The site is {output}/index.html; open it in a browser")
