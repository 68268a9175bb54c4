"""The work of the module, without Qt and VTK: the session on one scene, its jobs, its masks, its saved state."""
