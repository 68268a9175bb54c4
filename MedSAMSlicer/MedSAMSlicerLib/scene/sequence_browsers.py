"""The browsers of Slicer's sequences."""

from __future__ import annotations

from typing import Any


def browser_of(scene: Any, node: Any) -> Any | None:
    """The browser that lets a node show one item of a sequence after the other; None when there is none.

    One that records, or whose sequence does not take part in playing, changes no node.
    """
    if node is None or node.GetID() is None:
        return None
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        browser = scene.GetNthNodeByClass(number, "vtkMRMLSequenceBrowserNode")
        if not browser.IsProxyNodeID(node.GetID()) or browser.GetRecordingActive():
            continue
        if browser.GetPlayback(browser.GetSequenceNode(node)):
            return browser
    return None
