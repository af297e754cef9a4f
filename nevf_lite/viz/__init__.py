"""Figures, charts, the HTML report and the deformation viewer."""
