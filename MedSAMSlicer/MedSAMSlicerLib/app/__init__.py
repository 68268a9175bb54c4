"""What the module does, without Qt and VTK: the session on one scene, its jobs, its masks, its saved state."""
