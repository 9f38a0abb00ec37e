"""Interactive figures that need no kernel: one ES module each, live by anywidget, static by inlining."""

from kdlib.explorers.advisor import AdvisorExplorer
from kdlib.explorers.classes import ClassesExplorer
from kdlib.explorers.correction import CorrectionExplorer
from kdlib.explorers.effective_logit import EffectiveLogitExplorer
from kdlib.explorers.inefficiency import InefficiencyExplorer
from kdlib.explorers.recipes import RecipeExplorer
from kdlib.explorers.risk import RiskExplorer
from kdlib.explorers.student import StudentExplorer

__all__ = [
    "AdvisorExplorer",
    "ClassesExplorer",
    "CorrectionExplorer",
    "EffectiveLogitExplorer",
    "InefficiencyExplorer",
    "RecipeExplorer",
    "RiskExplorer",
    "StudentExplorer",
]
