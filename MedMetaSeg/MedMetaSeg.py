"""MedMetaSeg in 3D Slicer: whole 3D structures from a few painted slices."""

from __future__ import annotations

import sys
import unittest
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

if TYPE_CHECKING:
    from MedMetaSegLib.measurements.measurements import Connectivity
    from MedMetaSegLib.scene import SceneLogic


class MedMetaSeg(ScriptedLoadableModule):
    """What Slicer shows of the module."""

    def __init__(self, parent: Any) -> None:
        super().__init__(parent)
        parent.title = _("MedMetaSeg")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "Volumes", "SubjectHierarchy"]
        parent.contributors = ["MedMetaSeg contributors"]
        parent.helpText = _(
            "Paint a structure on a few slices of a CT or MR volume in the Segment Editor; "
            "MedMetaSeg segments the whole of it. Not for clinical use."
        )
        parent.acknowledgementText = _("Built on PyTorch and MONAI.")
        # Later: the Sample Data module may not be loaded yet.
        slicer.app.connect("startupCompleted()", self._registerSampleData)

    def _registerSampleData(self) -> None:
        from MedMetaSegLib.scene.sample_data import registerSampleData

        registerSampleData(Path(__file__).parent / "Resources" / "Icons" / "MedMetaSeg.png")


class MedMetaSegWidget(ScriptedLoadableModuleWidget):
    """Hosts the panel of MedMetaSegLib."""

    def setup(self) -> None:
        super().setup()
        # Here, not above: it brings Qt, which scripts that only want the logic do not need.
        from MedMetaSegLib.scene.panel import makePanel

        resources = Path(self.resourcePath("requirements.txt")).parent
        self.logic = MedMetaSegLogic()
        self.panel = makePanel(self.parent, resources, self.logic)
        if self.parent.isEntered:
            # Made anew by `onReload`: the user is here, and Slicer does not say so again.
            self.enter()

    def enter(self) -> None:
        self.panel.enter()

    def exit(self) -> None:
        self.panel.exit()

    def cleanup(self) -> None:
        self.panel.cleanup()

    def onReload(self) -> None:
        """Developer mode: read the package anew, too, and not this file alone."""
        self.cleanup()
        for name in [one for one in sys.modules if one.partition(".")[0] == "MedMetaSegLib"]:
            del sys.modules[name]
        super().onReload()


class MedMetaSegLogic(ScriptedLoadableModuleLogic):
    """The module for scripts; the work is SceneLogic's.

    logic = MedMetaSegLogic()
    node = logic.segment(volumeNode, segmentationNode)
    """

    def __init__(self, sceneLogic: SceneLogic | None = None) -> None:
        super().__init__()
        self._given = sceneLogic

    @cached_property
    def _scene(self) -> SceneLogic:
        # Made when it is needed: Slicer starts and opens the panel without waiting for its imports.
        from MedMetaSegLib.scene import SceneLogic

        return self._given or SceneLogic()

    @property
    def lastReport(self) -> dict[str, Any] | None:
        """The report of the last `segment`, `apply`, `measure` or `batch`; None before."""
        return self._scene.lastReport

    def segment(
        self,
        volumeNode: Any,
        segmentationNode: Any,
        outputSegmentationNode: Any = None,
        *,
        segmentIds: Sequence[str] | None = None,
        annotation: str = "slices",
        device: str = "auto",
        quality: str = "balanced",
        confidence: bool = True,
        uncertainty: bool = False,
        progress: Callable[[float, str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Any:
        """Segment the whole of what is painted on a few slices; returns the node that holds the result.

        See SceneLogic.segment for what each argument does and what is raised.
        """
        return self._scene.segment(
            volumeNode,
            segmentationNode,
            outputSegmentationNode,
            segmentIds=segmentIds,
            annotation=annotation,
            device=device,
            quality=quality,
            confidence=confidence,
            uncertainty=uncertainty,
            progress=progress,
            cancelled=cancelled,
        )

    def learn(self, pairs: Sequence[tuple[Any, Any]], path: str, **options: Any) -> None:
        """Learn a task from (volume node, segmentation node) pairs into a file; see SceneLogic.learn."""
        self._scene.learn(pairs, path, **options)

    def apply(self, path: str, volumeNode: Any, outputSegmentationNode: Any = None, **options: Any) -> Any:
        """Segment a task's structures in a volume without painting; see SceneLogic.apply."""
        return self._scene.apply(path, volumeNode, outputSegmentationNode, **options)

    def applyToSequence(self, path: str, volumeNode: Any, **options: Any) -> Any:
        """Segment a task's structures in every item of a sequence; see SceneLogic.applyToSequence."""
        return self._scene.applyToSequence(path, volumeNode, **options)

    def batch(self, path: str, inputs: Any, outputFolder: str, **options: Any) -> list[dict[str, Any]]:
        """Apply a task to many image files; returns a row per image; see SceneLogic.batch."""
        return self._scene.batch(path, inputs, outputFolder, **options)

    def measure(
        self,
        volumeNode: Any,
        segmentationNode: Any,
        *,
        segmentIds: Sequence[str] | None = None,
        lesions: Sequence[str] = (),
        connectivity: Connectivity = 26,
        smallest_mm3: float = 10.0,
        progress: Callable[[float, str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> dict[str, Any]:
        """Measure segments and their lesions into tables of the scene; returns the figures as a report.

        See SceneLogic.measure for what each argument does and what is raised.
        """
        return self._scene.measure(
            volumeNode,
            segmentationNode,
            segmentIds=segmentIds,
            lesions=lesions,
            connectivity=connectivity,
            smallest_mm3=smallest_mm3,
            progress=progress,
            cancelled=cancelled,
        )

    def copyParameterNode(self, node: Any) -> Any:
        """Another set of the panel's parameters, a copy of this one; returns its node."""
        copy = slicer.vtkMRMLScriptedModuleNode()
        copy.SetAttribute("ModuleName", self.moduleName)
        copy.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        copy = slicer.mrmlScene.AddNode(copy)
        for name in node.GetParameterNames():
            copy.SetParameter(name, node.GetParameter(name))
        roles: list[str] = []
        node.GetNodeReferenceRoles(roles)
        for role in roles:
            copy.SetNodeReferenceID(role, node.GetNodeReferenceID(role))
        return copy


class MedMetaSegTest(ScriptedLoadableModuleTest):
    """Presses the panel's buttons in the application, on a made-up volume; skipped without PyTorch.

    What is checked, a line for each step, is in MedMetaSegLib.scene.panel.self_test. The scene is cleared.
    """

    def setUp(self) -> None:
        from MedMetaSegLib.scene.panel.self_test import whySkipped

        reason = whySkipped()
        if reason:
            self.skipTest(reason)

    def runTest(self) -> None:
        """All of it, as the button Test calls it, for which a SkipTest would be an error."""
        try:
            super().runTest()
        except unittest.SkipTest as skipped:
            print(skipped)

    def test_1_paint_and_segment(self) -> None:
        self._check("paint and segment")

    def test_2_accept_and_undo(self) -> None:
        self._check("accept and undo")

    def test_3_two_editors(self) -> None:
        self._check("two editors")

    def test_4_save_and_delete(self) -> None:
        self._check("save and delete")

    def test_5_cancel(self) -> None:
        self._check("cancel")

    def test_6_learn_and_apply(self) -> None:
        self._check("learn and apply")

    def test_7_batch(self) -> None:
        self._check("batch")

    def test_8_close_the_scene(self) -> None:
        self._check("close the scene")

    def test_9_console(self) -> None:
        self._check("console")

    def _check(self, name: str) -> None:
        from MedMetaSegLib.scene.panel.self_test import check

        check(name)
