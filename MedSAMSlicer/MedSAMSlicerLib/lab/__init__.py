"""The laboratory: benchmarks and training. Not shipped to Slicer; nothing outside it but the command line knows it."""
