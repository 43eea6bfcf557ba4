"""Systems as data, the pmapped step, the loop, checkpoints and feeds."""
