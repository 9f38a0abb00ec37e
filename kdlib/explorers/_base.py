"""What the explorers share: a life without a kernel, and most of them the soft ratio and the temperature."""

import json
import re
from html import escape
from pathlib import Path
from uuid import uuid4
from xml.etree.ElementTree import fromstring

import anywidget
import traitlets
from IPython.display import display

from kdlib._checks import ratio, temperature
from kdlib._still import image

_HERE = Path(__file__).parent


_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+)\.js";\n', re.MULTILINE)


def module(name):
    """One ES module, without imports, from a file of JavaScript and those that it imports, directly or not."""
    pieces = {}

    def add(name):
        source = (_HERE / f"{name}.js").read_text("utf-8")
        for imported in _IMPORT.findall(source):
            if imported not in pieces:
                add(imported)
        pieces[name] = _IMPORT.sub("", source)

    add(name)
    return "\n".join(pieces.values())


class Embedded(anywidget.AnyWidget):
    """A figure or a form that computes where it is shown.

    A subclass names its kind, as its module does, and the module, ``_esm``; it tags with ``page=True`` the traits that
    a static page needs to begin with, and draws its :meth:`picture`. Things to try are ``examples``: pairs of what one
    then sees, in words, and the state that shows it; what a state leaves out is as the class has it.
    """

    _kind = ""
    _examples = ()  # unless others are given

    examples = traitlets.Any().tag(sync=True, page=True)

    def __init__(self, **settings):
        self._require_known(settings, self.class_trait_names())
        super().__init__(**settings)

    @classmethod
    def _settings(cls):
        """The traits that make up its state, by their names."""
        own = cls.class_traits(page=True)
        return {name: trait for name, trait in own.items() if not trait.read_only and name != "examples"}

    @classmethod
    def _require_known(cls, names, known):
        for name in names:
            if name not in known:
                raise TypeError(f"{name} is no setting of {cls.__name__}: it has {', '.join(cls._settings())}")

    @traitlets.default("examples")
    def _own_examples(self):
        return self._completed(self._examples)

    @traitlets.validate("examples")
    def _given_examples(self, proposal):
        return self._completed(proposal.value)

    def _completed(self, examples):
        """The examples with whole states, each value checked."""
        settings, found = self._settings(), []
        for what, state in examples:
            self._require_known(state, settings)
            whole = {name: state.get(name, trait.default(self)) for name, trait in settings.items()}
            found.append([what, {name: trait._cross_validate(self, whole[name]) for name, trait in settings.items()}])
        return found

    _css = (_HERE / "explorer.css").read_text("utf-8")

    # What tells a copy in a page which live view makes it superfluous.
    _copy = traitlets.Unicode(read_only=True).tag(sync=True)

    @traitlets.default("_copy")
    def _new_copy(self):
        return uuid4().hex

    def _ipython_display_(self, **kwargs):
        """A copy that needs no kernel, and after it the live view, for which it gives way.

        Thus the explorer is there, too, in a page made of the notebook and in a notebook opened again.
        """
        display(self.without_kernel(), raw=True)
        live, _ = self._repr_mimebundle_(**kwargs)
        display({kind: data for kind, data in live.items() if kind != "text/plain"}, raw=True)

    def without_kernel(self):
        """What is shown, as a fragment of a page that makes no request, and in words."""
        state = json.dumps(self.trait_values(page=True), separators=(",", ":"))
        still = self.picture()
        drawn = fromstring(still)
        words = drawn.get("aria-label") or " ".join(drawn.itertext())
        if drawn.tag == "svg":
            still = image(still, words)
        tries = "".join(f"<li>{escape(what)}</li>" for what, _ in self.examples)
        if tries:
            still += f'<ul class="kd-tries">{tries}</ul>'
        return {
            "text/html": f"<style>{self._css}</style>\n"
            f'<div class="kd-explorer kd-{self._kind}" data-copy="{self._copy}">{still}</div>\n'
            f'<script type="module">\n{self._esm}\n'
            f"mount(document.querySelector('[data-copy=\"{self._copy}\"]:has(.kd-still)'), {state});\n</script>",
            "text/plain": words,
        }

    def picture(self):
        """A still picture of the present state, for pages without scripts."""
        raise NotImplementedError


class Explorer(Embedded):
    """A figure with sliders, among them the soft ratio and the temperature."""

    rho = traitlets.Any(0.5).tag(sync=True, page=True)
    T = traitlets.Any(5.0).tag(sync=True, page=True)

    @traitlets.validate("rho")
    def _ratio(self, proposal):
        return ratio("rho", proposal.value)

    @traitlets.validate("T")
    def _temperature(self, proposal):
        return temperature("T", proposal.value)
