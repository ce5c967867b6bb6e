"""The reports as a small web site that is read from the file system: ``python -m hsta_lib.commands.site``.

`pages` turns one report into one HTML file, `index` makes the page that leads to them.
"""
