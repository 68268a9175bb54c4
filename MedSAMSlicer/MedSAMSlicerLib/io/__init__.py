"""Volumes in; segmentations and pictures out. Here, and only here, a file's geometry becomes RAS, once."""
