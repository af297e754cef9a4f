"""Many scans together: batches of pairs, labels from atlases, templates, change over time.

Each is a function over `registration.register`. `pairs`, `batch`, `work`, `quality` and `index`
register a list of pairs and show the doubtful ones first; `methods` writes what a paper says of the
settings. `atlases` votes over the labels of several atlases, `template` finds the middle of a
group, and `change` measures how volumes differ.
"""
