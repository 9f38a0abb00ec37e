"""Strict settings for every test: float64, no silent rank promotion, warnings are errors."""

import jax

import kdlib  # noqa: F401  (turns on float64)

jax.config.update("jax_numpy_rank_promotion", "raise")
