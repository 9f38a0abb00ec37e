"""The exchange office: a form that says what a recipe's settings mean, and how other libraries would write them."""

from dataclasses import asdict, replace
from html import escape

import traitlets

from kdlib._checks import choice
from kdlib.explorers._base import Embedded, module
from kdlib.recipes import Mixture, Recipe, mixture, recipe, recipes

_ALONE = {"soft": 1, "hard": 1, "T": 1, "t_squared": True, "reduction": "batchmean", "classes": 2}
_OTHER = {"batchmean": "mean", "mean": "batchmean"}


def _in_words(found):
    if found.kappa == 0:
        return "Your converged student follows its teacher everywhere, wrong or right: no hard label says otherwise."
    if found.rho == 0:
        return "Your converged student follows the labels alone: its teacher has no weight."
    if found.corrects_all:
        return ("No teacher can win against a label: it would have to be surer of a wrong class by more than "
                f"κ = {found.kappa:.3g}, and probabilities differ by less than 1.")
    return ("Your converged student follows a wrong teacher where it is sure by more than "
            f"κ = {found.kappa:.3g}: where, at T = {found.T:.3g}, its probability of a wrong class exceeds that of the "
            "label by more than this.")


class RecipeExplorer(Embedded):
    r"""A form for a recipe's settings, with the answer in words and the same student's settings elsewhere.

    One begins with a published ``recipe`` and changes what is different; ``None`` leaves a setting as it was published.
    In a live notebook the traits follow the form and drive it. In a static page all of it is computed in the browser,
    nothing leaves the page, and the address carries the state (``#x.recipe=torchtune&x.soft=0.9``).

    Limits:
        Of reductions it knows ``"batchmean"`` and ``"mean"``; :func:`~kdlib.recipes.mixture` takes any divisor.

    Raises:
        ValueError: a recipe that is not known, or a setting that :func:`~kdlib.recipes.mixture` refuses.

    >>> office = RecipeExplorer(recipe="RepDistiller", t_squared=False)
    >>> print(office.mixture())
    rho = 0.9, T = 4, kappa = 0.444444, lambda = 1.77778
    >>> print(office.answer()[0])  # doctest: +ELLIPSIS
    Your converged student follows a wrong teacher where it is sure by more than κ = 0.444: where, at T = 4, ...
    >>> print(office.equivalents()["keras.distillation"])  # doctest: +ELLIPSIS
    Distiller(student_loss_weight=0.64), LogitsDistillation(temperature=4, loss=KLDivergence())
    """

    _kind = "recipes"
    _esm = module("recipes")

    recipe = traitlets.Any("RepDistiller").tag(sync=True, page=True)
    soft = traitlets.Any(None).tag(sync=True, page=True)
    hard = traitlets.Any(None).tag(sync=True, page=True)
    T = traitlets.Any(None).tag(sync=True, page=True)
    t_squared = traitlets.Any(None).tag(sync=True, page=True)
    reduction = traitlets.Any(None).tag(sync=True, page=True)
    classes = traitlets.Any(None).tag(sync=True, page=True)
    recipes = traitlets.Dict(read_only=True).tag(sync=True, page=True)

    @traitlets.default("recipes")
    def _published(self):
        keep = (*_ALONE, "arguments", "note")
        return {name: {field: value for field, value in asdict(it).items() if field in keep}
                for name, it in recipes.items()}

    @traitlets.validate("recipe")
    def _known(self, proposal):
        return choice("recipe", proposal.value, recipes)

    @traitlets.validate(*_ALONE)
    def _setting(self, proposal):
        name, value = proposal.trait.name, proposal.value
        if value is None:
            return None
        if name == "reduction":
            return choice(name, value, _OTHER, "the form has these; kdlib.recipes.mixture takes any divisor")
        mixture(**_ALONE | {name: value})
        return {"t_squared": bool, "classes": int}.get(name, float)(value)

    def settings(self) -> Recipe:
        """The recipe with what was changed."""
        chosen = {name: getattr(self, name) for name in _ALONE}
        return recipe(self.recipe, **{name: value for name, value in chosen.items() if value is not None})

    def mixture(self) -> Mixture:
        """What the settings amount to."""
        return self.settings().mixture()

    def answer(self) -> list[str]:
        """The answer in words, and a warning for each convention that decides it."""
        now, found = self.settings(), self.mixture()
        others = [
            ("The factor T²", "Without it" if now.t_squared else "With it", replace(now, t_squared=not now.t_squared)),
            ("The reduction", f"With “{_OTHER[now.reduction]}”", replace(now, reduction=_OTHER[now.reduction])),
        ]
        warnings = []
        for what, how, other in others:
            if other.reduction == "mean" and other.classes is None:
                continue
            changed = other.mixture()
            if changed.corrects_all != found.corrects_all:
                then = "a teacher surer than that would win." if found.corrects_all else "no teacher could win."
                warnings.append(f"{what} decides. {how}, κ would be {changed.kappa:.3g}, and {then}")
        return [_in_words(found), *warnings]

    def equivalents(self) -> dict[str, str]:
        """The same student in other recipes: see :meth:`kdlib.recipes.Recipe.equivalents`."""
        return self.settings().equivalents()

    def picture(self):
        """The answer and the other recipes' settings as plain text, for pages without scripts."""
        try:
            words, same = [f"{self.mixture()}.", *self.answer()], self.equivalents()
        except ValueError as refused:
            words, same = [str(refused)], {}
        rows = "".join(f'<tr><th scope="row">{escape(name)}</th><td><code>{escape(text)}</code></td></tr>'
                       for name, text in same.items())
        return (f'<div class="kd-still"><p>{escape(self.recipe)}: {escape(" ".join(words))}</p><table class="kd-same">'
                '<caption>The same student elsewhere. Weights add up to one.</caption>'
                '<thead><tr><th scope="col">Recipe</th><th scope="col">Settings</th></tr></thead>'
                f'<tbody>{rows}</tbody></table></div>')
