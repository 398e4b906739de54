"""Denoisers without weights, to compare with."""
