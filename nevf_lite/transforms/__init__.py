"""Transforms: maps from the fixed image's space to the moving one's, in memory and on disk."""
