"""Check a printed table against itself: arithmetic on published numbers, no training and no pictures.

`possible`: which UF1 a UAR allows when all predictions are scored at once (Eq. 17). `fold_means`: when scores
of folds are averaged. `noise`: how far equally good models spread. `findings`: all of it applied to this
paper. `claims`: what it says, tested.
Scores are in percent with one decimal, as printed.
"""
