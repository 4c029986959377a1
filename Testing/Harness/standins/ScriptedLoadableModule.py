"""Stands in for slicer.ScriptedLoadableModule: the four base classes of a scripted module."""

from __future__ import annotations

import os
import unittest
from typing import Any

import slicer
import slicer.util

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]


class ScriptedLoadableModule:
    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__


class ScriptedLoadableModuleWidget:
    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, name: str) -> str:
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", name)

    def setup(self) -> None:
        """Made by subclasses."""

    def cleanup(self) -> None:
        """Made by subclasses."""

    def enter(self) -> None:
        """Made by subclasses."""

    def exit(self) -> None:
        """Made by subclasses."""

    def onReload(self) -> None:
        """What the button Reload does in developer mode."""
        slicer.util.reloadScriptedModule(self.moduleName)


class ScriptedLoadableModuleLogic:
    """With the one parameter node of a module, a singleton in the scene."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> Any:
        className = "vtkMRMLScriptedModuleNode"
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, className)
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag(self.moduleName)
            node.SetAttribute("ModuleName", self.moduleName)
            node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
            node = slicer.mrmlScene.AddNode(node)
        # Closing the scene takes the attribute away, as in Slicer.
        node.SetAttribute("ModuleName", self.moduleName)
        return node

    def getAllParameterNodes(self) -> list[Any]:
        scene, className = slicer.mrmlScene, "vtkMRMLScriptedModuleNode"
        nodes = (
            scene.GetNthNodeByClass(n, className) for n in range(scene.GetNumberOfNodesByClass(className))
        )
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]


class ScriptedLoadableModuleTest(unittest.TestCase):
    """`runTest` calls every method with "test" in its name, and none of unittest's bookkeeping: a SkipTest or
    any other exception goes to the caller, and what comes after is not run.
    """

    def runTest(self) -> None:
        names = [name for name in dir(self) if "test" in name and callable(getattr(self, name))]
        self.setUpClass()
        for name in names:
            self.setUp()
            getattr(self, name)()
            self.tearDown()
        self.tearDownClass()

    def delayDisplay(self, message: str, *_: Any) -> None:
        print(message)
