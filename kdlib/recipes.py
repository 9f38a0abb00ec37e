r"""What another library's weights, temperature and reduction mean: one form for every recipe, and the way back.

A recipe adds a soft and a hard part,

.. math:: L = a\, \frac{T^p}{r}\, D\bigl(\pi(z_t/T), \pi(z_s/T)\bigr) + b\, H(e_{y_g}, \pi(z_s)), \qquad
          p \in \{0, 2\},

with D the Kullback-Leibler divergence or the cross-entropy, which differ by what the student cannot change, and r what
the *reduction* divides the soft part by, beside a hard part that is averaged over the samples. Up to that difference
it is ``scale`` times the loss of Eq. 2, at

.. math:: \rho = \frac{A}{A + b}, \qquad A = \frac{a\, T^p}{r}, \qquad \kappa = \frac{T (1-\rho)}{\rho} = \frac{T b}{A},
          \qquad \lambda = T \kappa .

The converged student is the same for all recipes of one T and one :math:`\kappa`, and it follows a wrong teacher just
where that is surer of its class than of the label by :math:`\kappa` or more (:func:`~kdlib.classes.beats`).

What r is, by the reduction of the soft part:

- ``"batchmean"``, sums over classes, averaged over the samples: 1;
- ``"mean"``, PyTorch's default, the mean over all elements: the number of classes (PyTorch warns that a later release
  will make it ``"batchmean"``);
- any other, give the number: for ``"sum"`` over n samples 1/n; for ``"batchmean"`` over sequences of m tokens, whose
  hard part is averaged over the tokens, 1/m.

A squared distance of logits or of probabilities in place of D is another loss, and has no such number: its student is
none of these.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from kdlib._checks import choice, real, shown, temperature, whole


class Weights(NamedTuple):
    """What :meth:`Mixture.in_recipe` returns."""

    soft: float  #: a
    hard: float  #: b


@dataclass(frozen=True)
class Mixture:
    r"""A recipe in the form of Eq. 2: ``scale`` times :math:`\rho` soft and :math:`1-\rho` hard; from :func:`mixture`.

    >>> print(mixture(soft=0.9, hard=0.1, T=4.0, t_squared=True))
    rho = 0.993103, T = 4, kappa = 0.0277778, lambda = 0.111111
    """

    kappa: float  #: a wrong teacher wins where it is sure by this much; infinite for hard labels alone
    T: float  #: temperature
    scale: float = 1.0  #: what Eq. 2's loss is multiplied by, which the learning rate can make up for

    @property
    def rho(self) -> float:
        """Soft ratio."""
        return self.T / (self.T + self.kappa)

    @property
    def lam(self) -> float:
        r""":math:`\lambda`; times the number of classes, the ratio of the pulls per unit of logit where logits are
        small against T."""
        return self.T * self.kappa

    @property
    def corrects_all(self) -> bool:
        r"""Whether no teacher can win against a label, :math:`\kappa \ge 1`, which is :math:`\rho \le T / (1 + T)`."""
        return self.kappa >= 1

    def in_recipe(
        self, *, t_squared: bool, reduction: str | float = "batchmean", classes: int | None = None
    ) -> Weights:
        """The weights that mean the same in a recipe of another kind; they add up to one.

        Args:
            t_squared, reduction, classes: of the other recipe, as in :func:`mixture`.

        >>> student = mixture(soft=0.5, hard=0.5, T=2.0, t_squared=True)
        >>> print(student.in_recipe(t_squared=False), student.in_recipe(t_squared=True, reduction="mean", classes=10))
        Weights(soft=0.8, hard=0.2) Weights(soft=0.9090909090909091, hard=0.09090909090909091)
        """
        pull = _soft_factor(self.T, t_squared, reduction, classes)
        if np.isinf(self.kappa):
            return Weights(0.0, 1.0)
        soft, hard = self.T / pull, self.kappa
        return Weights(soft / (soft + hard), hard / (soft + hard))

    def __str__(self):
        return f"rho = {self.rho:.6g}, T = {self.T:.6g}, kappa = {self.kappa:.6g}, lambda = {self.lam:.6g}"


def mixture(
    *, soft: float, hard: float, T: float, t_squared: bool, reduction: str | float = "batchmean",
    classes: int | None = None,
) -> Mixture:
    """The mixture of Eq. 2 that a recipe's weights amount to.

    Args:
        soft, hard: weights of the two parts, at least 0, not both 0.
        T: temperature, positive.
        t_squared: whether the soft part is multiplied by T squared.
        reduction: ``"batchmean"``, ``"mean"``, or the number r that the soft part is divided by; see the module.
        classes: how many; needed for ``"mean"``.

    Raises:
        ValueError: an argument outside its domain, or ``"mean"`` without classes.

    >>> with_it, without = (mixture(soft=0.5, hard=0.5, T=5.0, t_squared=t_squared) for t_squared in (True, False))
    >>> print(with_it.kappa, with_it.corrects_all, without.kappa, without.corrects_all)
    0.2 False 5.0 True
    """
    soft, hard = (real(name, weight, "be finite and at least 0", lambda w: (w >= 0) & (w < np.inf),
                       "give the factor in front of this part of the loss")
                  for name, weight in (("soft", soft), ("hard", hard)))
    T = temperature("T", T)
    if not soft and not hard:
        raise ValueError("soft and hard must not both be 0: nothing would be learnt; give one of them a weight")
    pull = soft * _soft_factor(T, t_squared, reduction, classes)
    return Mixture(T * hard / pull if pull else np.inf, T, pull + hard)


def _soft_factor(T, t_squared, reduction, classes):
    """T^p / r: what the soft part is multiplied by besides its weight."""
    if not isinstance(t_squared, bool | np.bool_):
        raise ValueError(f"t_squared must be True or False, got {shown(t_squared)}: look for T ** 2 in the loss")
    if classes is not None:
        classes = whole("classes", classes, 2)
    if isinstance(reduction, str):
        choice("reduction", reduction, ("batchmean", "mean"), "or give the number that the soft part is divided by")
        if reduction == "mean" and classes is None:
            raise ValueError('classes must be given beside reduction="mean", got None: it divides by their number')
        r = classes if reduction == "mean" else 1
    else:
        r = real("reduction", reduction, 'be "batchmean", "mean" or a positive number',
                 lambda r: (r > 0) & (r < np.inf), "give the number that the soft part is divided by")
    return (T**2 if t_squared else 1) / r


@dataclass(frozen=True)
class Recipe:
    """A published recipe, as its source has it."""

    soft: float  #: weight of the soft part
    hard: float  #: weight of the hard part
    T: float  #: temperature
    t_squared: bool  #: whether the soft part is multiplied by T squared
    reduction: str | float  #: of the soft part, as in :func:`mixture`
    classes: int | None  #: how many the published setting has; None where the recipe names no data
    repository: str  #: owner and name on GitHub
    file: str  #: where in it the numbers are
    version: str  #: a release, or the beginning of a commit's hash, at which they were read
    arguments: str  #: how its code spells its settings; ``{soft}``, ``{hard}`` and ``{T}`` stand for the numbers
    note: str = ""  #: what else a reader should know

    def mixture(self) -> Mixture:
        """The mixture that it amounts to.

        Raises:
            ValueError: the number of classes counts, and the recipe names none: see :func:`recipe`.
        """
        return mixture(soft=self.soft, hard=self.hard, T=self.T, t_squared=self.t_squared, reduction=self.reduction,
                       classes=self.classes)

    @property
    def has_weights(self) -> bool:
        """Whether its code has a weight to set.

        >>> recipe("ModelOpt").has_weights
        False
        """
        return "{soft}" in self.arguments or "{hard}" in self.arguments

    def matched_to(self, other: Mixture, classes: int | None = None) -> "Recipe":
        r"""This recipe with the weights and the temperature that mean the same as another's mixture.

        The losses then differ by a factor, ``scale``, for which the learning rate can make up.

        Args:
            other: what to match.
            classes: how many, where the recipe names no number or another one.

        Raises:
            ValueError: this recipe's code has no weights, or no temperature, to set; or the number of classes counts
                and is not known.

        >>> tutorial = recipe("PyTorch tutorial").mixture()
        >>> print(recipe("mdistiller").matched_to(tutorial).spelled())
        KD.LOSS.KD_WEIGHT 0.25 KD.LOSS.CE_WEIGHT 0.75 KD.TEMPERATURE 2
        >>> print(recipe("keras.io example, first").matched_to(tutorial).spelled())
        distiller.compile(alpha=0.42857, temperature=2)
        """
        if not self.has_weights:
            raise ValueError(f"the recipe must have weights to set, got {self.arguments}: take another one")
        if "{T}" not in self.arguments and other.T != self.T:
            raise ValueError(f"T must be {shown(self.T)}, got {shown(other.T)}: this recipe's code has no temperature")
        classes = self.classes if classes is None else classes
        weights = other.in_recipe(t_squared=self.t_squared, reduction=self.reduction, classes=classes)
        return replace(self, soft=weights.soft, hard=weights.hard, T=other.T, classes=classes)

    def equivalents(self) -> dict[str, str]:
        """The same student in the other recipes of :data:`recipes`, by their names: one for each way of writing it.

        A text is what :meth:`matched_to` and :meth:`spelled` give, or says what hinders.

        Raises:
            ValueError: the number of classes counts, and the recipe names none: see :func:`recipe`.

        >>> same = recipe("RepDistiller", t_squared=False).equivalents()
        >>> print(same["mdistiller"])
        KD.LOSS.KD_WEIGHT 0.36 KD.LOSS.CE_WEIGHT 0.64 KD.TEMPERATURE 4
        """
        own, found, seen = self.mixture(), {}, set()
        for name, other in recipes.items():
            way = other.arguments, other.t_squared, other.reduction
            if way in seen or not other.has_weights:
                continue
            seen.add(way)
            if "{T}" not in other.arguments and own.T != other.T:
                found[name] = f"has no temperature: only T = {shown(other.T)}"
            elif other.reduction == "mean" and self.classes is None and other.classes is None:
                found[name] = "divides by the number of classes: give K"
            else:
                found[name] = other.matched_to(own, self.classes).spelled()
        return found

    def spelled(self) -> str:
        """Its settings as its own code spells them, with weights that keep four digits of the smaller one.

        >>> print(recipe("keras.io example").spelled())
        distiller.compile(alpha=0.1, temperature=10)
        """
        smaller = min(self.soft, self.hard)
        places = min(16, max(0, 4 - int(np.floor(np.log10(smaller))))) if smaller else 6
        short = lambda weight: f"{weight:.{places}f}".rstrip("0").rstrip(".") if places else f"{weight:.0f}"
        return self.arguments.format(soft=short(self.soft), hard=short(self.hard), T=f"{self.T:g}")


def recipe(name: str, **changes) -> Recipe:
    """A published recipe, with settings of your own.

    Args:
        name: one of :data:`recipes`.
        changes: other values of a :class:`Recipe`'s fields.

    Raises:
        ValueError: a name that is not known, or a change to what a recipe does not have.

    >>> for T in (4.0, 10.0):
    ...     print(recipe("RepDistiller", T=T).mixture())
    rho = 0.993103, T = 4, kappa = 0.0277778, lambda = 0.111111
    rho = 0.99889, T = 10, kappa = 0.0111111, lambda = 0.111111
    """
    found = recipes[choice("name", name, recipes)]
    for field in changes:
        choice("a change", field, ("soft", "hard", "T", "t_squared", "reduction", "classes"), "see Recipe")
    return replace(found, **changes)


#: The published defaults, by name, as read at their sources.
#:
#: :meta hide-value:
recipes: Mapping[str, Recipe] = MappingProxyType({
    "torchdistill": Recipe(
        soft=0.1, hard=0.9, T=4.0, t_squared=True, reduction="batchmean", classes=10,
        repository="yoshitomo-matsubara/torchdistill", version="3e4373c",
        file="configs/sample/cifar10/kd/resnet20_from_densenet_bc_k12_depth100-final_run.yaml",
        arguments="KDLoss(alpha={hard}, temperature={T})",
        note="KDLoss in torchdistill/losses/mid_level.py gives alpha, here 0.9, to the hard part. Without labels it "
             "leaves out the square of T, too, which changes the learning rate alone.",
    ),
    "torchdistill, ImageNet": Recipe(
        soft=0.5, hard=0.5, T=1.0, t_squared=True, reduction="batchmean", classes=1000,
        repository="yoshitomo-matsubara/torchdistill", version="3e4373c",
        file="configs/official/ilsvrc2012/yoshitomo-matsubara/rrpr2020/kd-resnet18_from_resnet34.yaml",
        arguments="KDLoss(alpha={hard}, temperature={T})",
    ),
    "RepDistiller": Recipe(
        soft=0.9, hard=0.1, T=4.0, t_squared=True, reduction="batchmean", classes=100,
        repository="HobbitLong/RepDistiller", version="b84f547",
        file="scripts/run_cifar_distill.sh",
        arguments="--distill kd -a {soft} -r {hard} -b 0 --kd_T {T}",
        note="The flags -a 0.9 and -r 0.1 of its script; without flags train_student.py has r = 1 and no a.",
    ),
    "mdistiller": Recipe(
        soft=0.9, hard=0.1, T=4.0, t_squared=True, reduction="batchmean", classes=100,
        repository="megvii-research/mdistiller", version="a08d46f",
        file="mdistiller/engine/cfg.py",
        arguments="KD.LOSS.KD_WEIGHT {soft} KD.LOSS.CE_WEIGHT {hard} KD.TEMPERATURE {T}",
    ),
    "mdistiller, ImageNet": Recipe(
        soft=0.5, hard=0.5, T=1.0, t_squared=True, reduction="batchmean", classes=1000,
        repository="megvii-research/mdistiller", version="a08d46f",
        file="configs/imagenet/r34_r18/kd.yaml",
        arguments="KD.LOSS.KD_WEIGHT {soft} KD.LOSS.CE_WEIGHT {hard} KD.TEMPERATURE {T}",
    ),
    "TextBrewer": Recipe(
        soft=1.0, hard=0.0, T=4.0, t_squared=False, reduction="batchmean", classes=None,
        repository="airaria/TextBrewer", version="0.2.1.post1",
        file="src/textbrewer/configurations.py",
        arguments="DistillationConfig(kd_loss_weight={soft}, hard_label_weight={hard}, temperature={T})",
        note="A cross-entropy without the square of T: a hard_label_weight above 0 counts 16 times as much as with it. "
             'kd_loss_type="mse" is another loss.',
    ),
    "ModelOpt": Recipe(
        soft=1.0, hard=0.0, T=1.0, t_squared=True, reduction="mean", classes=None,
        repository="NVIDIA/Model-Optimizer", version="0.47.0",
        file="modelopt/torch/distill/losses.py",
        arguments="LogitsDistillationLoss(temperature={T})",
        note="Without a loss balancer the student's own loss is refused.",
    ),
    "ModelOpt, balanced": Recipe(
        soft=0.5, hard=0.5, T=1.0, t_squared=True, reduction="mean", classes=None,
        repository="NVIDIA/Model-Optimizer", version="0.47.0",
        file="modelopt/torch/distill/loss_balancers.py",
        arguments="StaticLossBalancer(kd_loss_weight={soft}), LogitsDistillationLoss(temperature={T})",
        note="The default weight of StaticLossBalancer and the default reduction of LogitsDistillationLoss, which "
             "divides by the number of classes: the larger the vocabulary, the less the teacher counts.",
    ),
    "keras.distillation": Recipe(
        soft=0.5, hard=0.5, T=3.0, t_squared=True, reduction="batchmean", classes=None,
        repository="keras-team/keras", version="3.15.1",
        file="keras/src/distillation/distillation_loss.py",
        arguments="Distiller(student_loss_weight={hard}), LogitsDistillation(temperature={T}, loss=KLDivergence())",
        note='With loss=keras.losses.KLDivergence(). By default, loss="kl_divergence", the logits are compared as if '
             "they were probabilities, and without the square of T: another loss.",
    ),
    "keras.io example": Recipe(
        soft=0.9, hard=0.1, T=10.0, t_squared=True, reduction="batchmean", classes=10,
        repository="keras-team/keras-io", version="501fb4c",
        file="examples/vision/knowledge_distillation.py",
        arguments="distiller.compile(alpha={hard}, temperature={T})",
        note="alpha = 0.1 is the hard part's weight.",
    ),
    "keras.io example, first": Recipe(
        soft=0.9, hard=0.1, T=10.0, t_squared=False, reduction="batchmean", classes=10,
        repository="keras-team/keras-io", version="1da2fde",
        file="examples/vision/knowledge_distillation.py",
        arguments="distiller.compile(alpha={hard}, temperature={T})",
        note="The same before the square of T was added to it. In that version the distiller also exchanges teacher "
        "and student.",
    ),
    "DeiT, soft": Recipe(
        soft=0.5, hard=0.5, T=1.0, t_squared=True, reduction="mean", classes=1000,
        repository="facebookresearch/deit", version="7e160fe",
        file="losses.py",
        arguments="--distillation-type soft --distillation-alpha {soft} --distillation-tau {T}",
        note="The two parts are losses of two heads: the numbers compare their pulls on the weights below, and no "
             "logit is the mixture's. The hard part's labels are smoothed and mixed. By default nothing is distilled.",
    ),
    "torchtune": Recipe(
        soft=0.5, hard=0.5, T=1.0, t_squared=False, reduction="batchmean", classes=None,
        repository="pytorch/torchtune", version="0.6.1",
        file="recipes/configs/llama3_2/8B_to_1B_KD_lora_single_device.yaml",
        arguments="kd_ratio: {soft}",
        note="Both parts are means over tokens.",
    ),
    "distil-whisper": Recipe(
        soft=1.0, hard=0.8, T=2.0, t_squared=True, reduction="batchmean", classes=None,
        repository="huggingface/distil-whisper", version="cc96130",
        file="training/run_distillation.py",
        arguments="--kl_weight {soft} --temperature {T}, and {hard} * ce_loss in the code",
        note="Means over tokens. The labels are mostly the teacher's own transcriptions.",
    ),
    "PyTorch tutorial": Recipe(
        soft=0.25, hard=0.75, T=2.0, t_squared=True, reduction="batchmean", classes=10,
        repository="pytorch/tutorials", version="c53e7d4",
        file="beginner_source/knowledge_distillation_tutorial.py",
        arguments="train_knowledge_distillation(T={T}, soft_target_loss_weight={soft}, ce_loss_weight={hard})",
    ),
    "haitongli, ResNet-18": Recipe(
        soft=0.95, hard=0.05, T=6.0, t_squared=True, reduction="mean", classes=10,
        repository="haitongli/knowledge-distillation-pytorch", version="9937528",
        file="experiments/resnet18_distill/resnext_teacher/params.json",
        arguments='"alpha": {soft}, "temperature": {T}',
        note="loss_fn_kd in model/net.py leaves KLDivLoss its default reduction.",
    ),
    "haitongli, CNN": Recipe(
        soft=0.9, hard=0.1, T=20.0, t_squared=True, reduction="mean", classes=10,
        repository="haitongli/knowledge-distillation-pytorch", version="9937528",
        file="experiments/cnn_distill/params.json",
        arguments='"alpha": {soft}, "temperature": {T}',
    ),
})
