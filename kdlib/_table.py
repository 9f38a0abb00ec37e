"""HTML tables, for live notebooks and for pages."""

from itertools import zip_longest


def table(names, rows, style, *, caption="", ids=()):
    """HTML of a table, from the names of its columns and the HTML of its cells; the first of a row is its head.

    Args:
        names: of the columns.
        rows: each a cell for every column.
        style: the table's class, or several.
        caption: above it.
        ids: names of the rows, by which links lead to them.

    >>> print(table(["T", "rho"], [["1", "0.5"]], "claims", ids=["a"]))  # doctest: +NORMALIZE_WHITESPACE
    <table class="claims"><thead><tr><th scope="col">T</th><th scope="col">rho</th></tr></thead><tbody><tr
    id="a"><th scope="row">1</th><td>0.5</td></tr></tbody></table>
    """
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = ""
    for (first, *others), place in zip_longest(rows, ids):
        place = f' id="{place}"' if place else ""
        cells = "".join(f"<td>{cell}</td>" for cell in others)
        body += f'<tr{place}><th scope="row">{first}</th>{cells}</tr>'
    caption = caption and f"<caption>{caption}</caption>"
    return f'<table class="{style}">{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
