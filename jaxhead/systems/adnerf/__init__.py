"""AD-NeRF: speech drives a head and a torso of one person (Guo et al. 2021, arXiv 2103.11078)."""
