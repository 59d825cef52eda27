"""The colours of the figures that matplotlib draws; those of the report are in its style sheet."""

from __future__ import annotations

from typing import Final

#: In the order in which they are taken: Paul Tol's "bright", whose colours remain distinct for the colour-blind.
COLOURS: Final = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
