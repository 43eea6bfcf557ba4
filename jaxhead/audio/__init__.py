"""Waveforms to features, and speech-like synthetic signals."""
