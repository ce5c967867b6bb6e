"""Check a printed table against itself: arithmetic on published numbers, no training and no pictures.

`pooled`: which UF1 a UAR allows when all predictions are scored at once (Eq. 17). `folds`: when scores of
folds are averaged. `noise`: how far equally good models spread. `findings`: all of it applied to this paper.
Scores are in percent with one decimal, as printed.
"""
