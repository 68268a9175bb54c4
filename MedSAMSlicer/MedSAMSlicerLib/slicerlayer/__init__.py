"""The only part that knows 3D Slicer: between its scene and the core."""
