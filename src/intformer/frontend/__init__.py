"""Frontends: a trained model becomes a float-stage graph of canonical operators."""
