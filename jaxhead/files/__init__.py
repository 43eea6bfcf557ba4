"""Files: restricted readers, media, the asset store, atomic writes, the error for bad input."""
