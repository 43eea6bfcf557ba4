"""Image metrics: arrays in, a scalar out."""
