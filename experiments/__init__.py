"""Presets of published experiments and benchmarks, run as `python -m experiments.NAME`."""
