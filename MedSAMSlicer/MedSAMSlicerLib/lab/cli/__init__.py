"""The commands of the laboratory: `medsamslicer benchmark | train`."""
