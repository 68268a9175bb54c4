"""The places of nodes in the tree of the Data module: segmentations beside their volume, prompts in a folder there.

Items are made by Slicer when a node is added; a scene without Slicer's application has none, and nothing is done.
"""

from __future__ import annotations

from typing import Any

import slicer

FOLDER_NAME = "MedSAMSlicer prompts"


def place_beside(node: Any, volume_node: Any) -> None:
    """Put a node into the study, or the folder, of a volume."""
    tree = _tree(node)
    item, volume_item = tree.GetItemByDataNode(node), tree.GetItemByDataNode(volume_node)
    if item and volume_item:
        tree.SetItemParent(item, tree.GetItemParent(volume_item))


def place_among_prompts(node: Any, volume_node: Any) -> None:
    """Put a node into the folder of prompts beside a volume; it is made when there is none."""
    tree = _tree(node)
    item, volume_item = tree.GetItemByDataNode(node), tree.GetItemByDataNode(volume_node)
    if not item or not volume_item:
        return
    parent = tree.GetItemParent(volume_item)
    folder = tree.GetItemChildWithName(parent, FOLDER_NAME)
    if not folder:
        folder = tree.CreateFolderItem(parent, FOLDER_NAME)
        tree.SetItemExpanded(folder, False)
    tree.SetItemParent(item, folder)


def folder_of(node: Any) -> int:
    """The folder of prompts in which a node is; 0 when it is in none."""
    tree = _tree(node)
    item = tree.GetItemByDataNode(node)
    parent = tree.GetItemParent(item) if item else 0
    return int(parent) if parent and tree.GetItemName(parent) == FOLDER_NAME else 0


def drop_if_empty(scene: Any, folder: int) -> None:
    """Take a folder of prompts away when nothing is in it any more."""
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if folder and tree.GetItemName(folder) == FOLDER_NAME and not tree.GetNumberOfItemChildren(folder):
        tree.RemoveItem(folder)


def _tree(node: Any) -> Any:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
