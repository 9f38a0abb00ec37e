"""What hypothesis draws in several modules."""

from hypothesis import strategies as st

ratios = st.floats(0, 1).filter(lambda ratio: ratio == 0 or ratio >= 1e-300)
