"""The bibliography's style: an entry is labelled as it is cited, by author and year."""

from __future__ import annotations

from pybtex.plugin import register_plugin
from pybtex.style.formatting.plain import Style as PlainStyle
from pybtex.style.labels import BaseLabelStyle


class AuthorYear(BaseLabelStyle):
    """Labels such as "Han et al., 2023"; a letter tells two of the same apart."""

    def format_labels(self, sorted_entries):
        seen: dict[str, int] = {}
        for entry in sorted_entries:
            names = [" ".join(person.last_names) for person in entry.persons["author"]]
            if len(names) > 2:
                names = [f"{names[0]} et al."]
            label = f"{' and '.join(names)}, {entry.fields['year']}"
            seen[label] = seen.get(label, 0) + 1
            yield label + ("" if seen[label] == 1 else " abcdefgh"[seen[label]])


class AuthorYearStyle(PlainStyle):
    """The plain style with those labels."""

    default_label_style = AuthorYear


def setup_bibliography() -> None:
    register_plugin("pybtex.style.formatting", "nevf", AuthorYearStyle)
