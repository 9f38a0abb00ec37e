"""Interactive figures that need no kernel: one ES module each, live by anywidget, static by inlining."""

from kdlib.explorers.effective_logit import EffectiveLogitExplorer

__all__ = ["EffectiveLogitExplorer"]
