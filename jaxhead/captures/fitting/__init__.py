"""A statistical head fitted to a clip: identity and focal length shared, pose and face by frame."""
