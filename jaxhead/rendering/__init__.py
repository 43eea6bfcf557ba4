"""Sampling along rays, occupancy, volume integration and whole-frame rendering of any field."""
