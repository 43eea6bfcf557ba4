"""Captures: tracking a recorded subject, the format on disk, and the synthetic subject."""
