"""Strict settings for every test: float64, no silent rank promotion, warnings are errors."""

import jax
from hypothesis import settings

import kdlib  # noqa: F401  (turns on float64)

jax.config.update("jax_numpy_rank_promotion", "raise")
# Time is never tested: other programs run too.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")
