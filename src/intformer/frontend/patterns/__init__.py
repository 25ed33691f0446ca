"""Canonicalisation patterns, one file per family; each is exact in real arithmetic."""
