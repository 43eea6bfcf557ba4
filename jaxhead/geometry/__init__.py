"""Transforms, cameras, meshes, nearest triangles, Frenet-frame mapping and rasterising."""
