"""The Segment Editor effect as Slicer loads it, in a folder of its own.

Slicer gives the loaded file the name of its folder as a module name, whatever package it lies in
(`qSlicerSegmentEditorScriptedEffect::setPythonSource`), so that no other folder may be called like this one.
"""
