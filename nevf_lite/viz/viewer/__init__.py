"""The deformation viewer: a self-contained HTML page that needs no kernel."""
