"""Files: restricted readers, media, the asset store, atomic writes and the one error for bad input."""
