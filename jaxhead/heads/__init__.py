"""Statistical head models: identity, expression and pose to a mesh and landmarks."""
