"""Reproducibility bundles: one run in one file, for people who have nothing else. The format is docs/bundle.md."""
