"""Scores of a run against held-out frames: baselines, landmarks, tables and picture sheets."""
