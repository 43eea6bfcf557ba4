"""Encodings of positions and directions: hash grids, dense grids, tri-planes, waves, harmonics."""
