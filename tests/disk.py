"""Workbooks on disk, and disks that fail."""

import os

import openpyxl


def write_book(path, sheets):
    """An .xlsx file of some sheets, by their titles lists of rows; returns its path."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
    return path


def failing(number):
    """A function that fails as a disk does, whatever it is given; ``number``: of the error."""

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail
