"""What explorers draw for pages without scripts: an SVG of 600 x 360 units, made of curves, marks, lines and words."""

import numpy as np

from kdlib.plots import PALETTE

BLUE, ORANGE, GREEN = (PALETTE[name] for name in ("blue", "orange", "green"))


def still(description, *parts):
    """The picture, with its text alternative; parts may be lists of parts."""
    return (f'<svg class="kd-still" viewBox="0 0 600 360" role="img" aria-label="{description}">'
            f'{"".join(part if isinstance(part, str) else "".join(part) for part in parts)}</svg>')


def polyline(x, y, color="currentColor", width=None, dash=None):
    """A curve through points."""
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    wide = f' stroke-width="{width}"' if width else ""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline fill="none" stroke="{color}"{wide}{dashed} points="{points}"/>'


def dotted(x, y):
    """The curve of something given, such as a teacher."""
    return polyline(x, y, dash="2 4")


def followed(x, y):
    """The curve that the picture is about."""
    return polyline(x, y, GREEN, 2.5)


def axes(path, more=""):
    """Lines in the background."""
    return f'<path d="{path}" {more}stroke="currentColor" opacity=".5"/>'


def dot(x, y, color, radius):
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{color}"/>'


def mark(x, y, right, radius=3.5):
    """A target: a dot, or a cross where it is wrong."""
    if right:
        return dot(x, y, BLUE, radius)
    return f'<path d="M{x - 4:.1f} {y - 4:.1f}l8 8m0-8l-8 8" stroke="{ORANGE}" stroke-width="2"/>'


def words(x, y, text, anchor=None):
    """Text that begins at a point, or with ``anchor`` ends there or has its middle there."""
    anchored = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:g}" y="{y:g}"{anchored} fill="currentColor">{text}</text>'


def scaled(z, reach, *, middle=180, height=150):
    """Heights of logits from -reach to reach; larger ones stay at the edge."""
    return middle - height * np.clip(z / reach, -1, 1)
