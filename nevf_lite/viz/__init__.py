"""Figures, the report and the viewer: what people look at."""
