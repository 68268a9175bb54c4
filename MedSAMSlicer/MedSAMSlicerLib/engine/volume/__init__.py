"""The volume stage: evidence from all slices of an object together, after they were drawn one after the other."""
