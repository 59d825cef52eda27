"""The page that ``--report`` writes: one self-contained HTML file."""
