"""Volumes through the network: features computed once, objects followed slice by slice, corrections kept local.

`segmenter.VolumeSegmenter` is the way in.
"""
