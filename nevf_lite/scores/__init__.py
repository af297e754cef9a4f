"""Scores of a registration: overlap of labels, errors at landmarks, folds, inverse consistency."""
