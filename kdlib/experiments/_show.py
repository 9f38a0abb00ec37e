"""The source of a function, folded, in a page and in a live notebook."""

import inspect
from html import escape
from textwrap import dedent


class Source:
    """The true source of functions or classes, shown folded."""

    def __init__(self, *objects):
        self.objects = objects

    def __repr__(self):
        return "\n\n".join(dedent(inspect.getsource(each)) for each in self.objects)

    def _repr_html_(self):
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import PythonLexer

        first = self.objects[0]
        names = ", ".join(each.__name__ for each in self.objects)
        code = highlight(repr(self), PythonLexer(), HtmlFormatter(cssclass="highlight"))
        return (f'<details class="source"><summary>Source of <code>{escape(names)}</code>, in '
                f"<code>{first.__module__}</code></summary>{code}</details>")


def show(*objects):
    """The true source of functions or classes, folded.

    >>> from kdlib.distillation import split_threshold
    >>> print(show(split_threshold))  # doctest: +ELLIPSIS
    def split_threshold(...
    """
    return Source(*objects)
