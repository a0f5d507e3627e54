"""How annotations look in Label Studio: the controls of a labeling config, by task.

    <RectangleLabels name="object_detection">    boxes, of any task
    <PolygonLabels name="segmentation">          masks; holes are filled
    <PolygonLabels name="ocr__outline">          quads
    <TextArea name="ocr__text" perRegion>        the text of a region
    <TextArea name="caption">                    texts about the whole image
    <Choices name="tag">                         labels of the whole image

Phrases of captions and questions with answers have no control that would keep them.
"""

from __future__ import annotations

from typing import Literal

from florilegium.engine.core.task import Task

IMAGE = "image"
OUTLINE, TEXT = "__outline", "__text"
PART = "-"
"""Stands between the id of a mask and the number of each further polygon."""
Control = Literal["choices", "textarea", "rectanglelabels", "polygonlabels", ""]


def control_of(task: Task) -> Control:
    """Return the type of the results of a task; empty where there is no control for it."""
    if task.kind == "phrase" or task.words == "answer" or task.is_of_all:
        return ""
    if task.kind == "text":
        return "choices" if "label" in task.needs else "textarea"
    return "polygonlabels" if "mask_rle" in task.needs else "rectanglelabels"


def has_label(task: Task) -> bool:
    """Whether regions of a task have a label of their own; else the name of the task stands for
    one."""
    return task.words == "name" or "label" in (*task.needs, *task.either) or not task.words


def has_text(task: Task) -> bool:
    """Whether regions of a task have a text."""
    return task.kind == "region" and "text" in (*task.needs, *task.either)
