"""The tasks: those of Florence-2 and FLD-5B, tags, and those that plugins add.

One entry holds all that is known about a task; whoever needs a group of tasks derives it from
here with `names_of`. A task that is in no entry needs nothing but a kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from florilegium.engine.core.errors import PlanError, nearest
from florilegium.engine.core.installed import entry_points
from florilegium.engine.core.task import Florence2Prompt, Task

GROUP = "florilegium.tasks"

# In the order of the Florence-2 paper: a task comes after those whose answers it is asked about.
# Colours of Okabe and Ito (Color Universal Design, 2008), one for what belongs together.
_BUILT_IN = (
    Task(name="tag", kind="text", needs=("label",), words="name", colour="#56b4e9"),
    Task(
        name="caption",
        kind="text",
        needs=("text",),
        words="sentence",
        colour="#0072b2",
        coco="caption",
        florence2=Florence2Prompt(marker="<CAPTION>", prompt="What does the image describe?"),
    ),
    Task(
        name="detailed_caption",
        kind="text",
        needs=("text",),
        words="sentence",
        colour="#0072b2",
        coco="caption",
        florence2=Florence2Prompt(
            marker="<DETAILED_CAPTION>", prompt="Describe in detail what is shown in the image."
        ),
    ),
    Task(
        name="more_detailed_caption",
        kind="text",
        needs=("text",),
        words="sentence",
        colour="#0072b2",
        coco="caption",
        florence2=Florence2Prompt(
            marker="<MORE_DETAILED_CAPTION>",
            prompt="Describe with a paragraph what is shown in the image.",
        ),
    ),
    Task(
        name="transcript",
        kind="text",
        needs=("text",),
        words="reading",
        colour="#f0e442",
        florence2=Florence2Prompt(marker="<OCR>", prompt="What is the text in the image?"),
    ),
    Task(
        name="ocr",
        kind="region",
        needs=("text", "box_xyxy"),
        words="reading",
        colour="#f0e442",
        florence2=Florence2Prompt(
            marker="<OCR_WITH_REGION>",
            prompt="What is the text in the image, with regions?",
            answers="quads",
        ),
    ),
    Task(
        name="object_detection",
        kind="region",
        needs=("label", "box_xyxy"),
        words="name",
        colour="#e69f00",
        coco="instance",
        florence2=Florence2Prompt(
            marker="<OD>",
            prompt="Locate the objects with category name in the image.",
            answers="boxes",
        ),
    ),
    Task(
        name="dense_region_caption",
        kind="region",
        needs=("text", "box_xyxy"),
        words="sentence",
        colour="#d55e00",
        florence2=Florence2Prompt(
            marker="<DENSE_REGION_CAPTION>",
            prompt="Locate the objects in the image, with their descriptions.",
            answers="boxes",
        ),
    ),
    Task(
        name="region_proposal",
        kind="region",
        needs=("box_xyxy",),
        florence2=Florence2Prompt(
            marker="<REGION_PROPOSAL>",
            prompt="Locate the region proposals in the image.",
            answers="boxes",
        ),
    ),
    Task(
        name="phrase_grounding",
        kind="phrase",
        needs=("text", "box_xyxy", "span", "parent_id"),
        words="name",
        colour="#cc79a7",
        florence2=Florence2Prompt(
            marker="<CAPTION_TO_PHRASE_GROUNDING>",
            prompt="Locate the phrases in the caption: {input}",
            takes="text",
            answers="boxes",
        ),
    ),
    Task(
        name="open_vocabulary_detection",
        kind="region",
        needs=("label", "box_xyxy"),
        words="name",
        colour="#e69f00",
        coco="instance",
        florence2=Florence2Prompt(
            marker="<OPEN_VOCABULARY_DETECTION>",
            prompt="Locate {input} in the image.",
            takes="text",
            answers="boxes",
        ),
    ),
    Task(
        name="referring_segmentation",
        kind="region",
        needs=("mask_rle",),
        either=("text", "label"),
        is_of_region=True,
        colour="#009e73",
        florence2=Florence2Prompt(
            marker="<REFERRING_EXPRESSION_SEGMENTATION>",
            prompt="Locate {input} in the image with mask",
            takes="text",
            answers="polygons",
        ),
    ),
    Task(
        name="segmentation",
        kind="region",
        needs=("mask_rle",),
        is_of_region=True,
        colour="#009e73",
        coco="instance",
        florence2=Florence2Prompt(
            marker="<REGION_TO_SEGMENTATION>",
            prompt="What is the polygon mask of region {input}",
            takes="region",
            answers="polygons",
        ),
    ),
    Task(
        name="region_category",
        kind="region",
        needs=("label", "box_xyxy"),
        words="name",
        is_of_region=True,
        colour="#d55e00",
        florence2=Florence2Prompt(
            marker="<REGION_TO_CATEGORY>", prompt="What is the region {input}?", takes="region"
        ),
    ),
    Task(
        name="region_description",
        kind="region",
        needs=("text", "box_xyxy"),
        words="sentence",
        is_of_region=True,
        colour="#d55e00",
        florence2=Florence2Prompt(
            marker="<REGION_TO_DESCRIPTION>",
            prompt="What does the region {input} describe?",
            takes="region",
        ),
    ),
    Task(
        name="region_ocr",
        kind="region",
        needs=("text", "box_xyxy"),
        words="reading",
        is_of_region=True,
        colour="#f0e442",
        florence2=Florence2Prompt(
            marker="<REGION_TO_OCR>", prompt="What text is in the region {input}?", takes="region"
        ),
    ),
    Task(
        name="question_answer",
        kind="text",
        needs=("text", "label"),
        words="answer",
        is_of_all=True,
        colour="#000000",
        # The released weights do not know it: it is the prompt that the published fine-tuning for
        # DocVQA teaches them.
        florence2=Florence2Prompt(marker="<DocVQA>", prompt="<DocVQA>{input}", takes="text"),
    ),
)


_FORMS = (
    ("nothing", "text"),
    ("nothing", "boxes"),
    ("nothing", "quads"),
    ("region", "text"),
    ("region", "polygons"),
    ("text", "text"),
)
"""What a prompt takes and answers, if it is to be made from annotations of its own task alone."""


def _installed() -> Iterator[Task]:
    """Yield the tasks of plugins, by the names of their entry points.

    Raises:
        PlanError: a task cannot be loaded, or its Florence-2 prompt is of an unknown form.
    """
    for point in sorted(entry_points(group=GROUP)):
        try:
            task = point.load()
        except (Exception, SystemExit) as error:  # a module may raise anything
            raise PlanError(
                f"the task {point.name!r} cannot be loaded from {point.value!r}: {error}; keep it "
                f"in a module that imports nothing but engine.core.task"
            ) from error
        if not isinstance(task, Task):
            raise PlanError(f"{point.value!r} is no task: name a `Task` of engine.core.task")
        form = (task.florence2.takes, task.florence2.answers) if task.florence2 else None
        if form and form not in _FORMS:
            known = ", ".join(f"{takes} -> {answers}" for takes, answers in _FORMS)
            raise PlanError(
                f"the Florence-2 prompt of task {task.name!r} has the form {' -> '.join(form)}; "
                f"a new task can have {known}"
            )
        yield task


def table_of(*tasks: Task) -> Mapping[str, Task]:
    """Return tasks by name.

    Raises:
        PlanError: two tasks have one name.
    """
    table: dict[str, Task] = {}
    for task in tasks:
        if task.name in table:
            raise PlanError(f"two tasks are called {task.name!r}: rename that of the plugin")
        table[task.name] = task
    return MappingProxyType(table)


TABLE = table_of(*_BUILT_IN, *_installed())
"""All tasks by name."""


def names_of(is_wanted: Callable[[Task], bool]) -> tuple[str, ...]:
    """Return the names of the tasks that a group has, in the order of the table."""
    return tuple(name for name, task in TABLE.items() if is_wanted(task))


TASKS = tuple(TABLE)
CAPTION_TASKS = names_of(lambda task: task.kind == "text" and task.words == "sentence")
REGION_TASKS = names_of(lambda task: task.kind == "region")
PHRASE_TASKS = names_of(lambda task: task.kind == "phrase")
ANSWER_TASKS = names_of(lambda task: task.words == "answer")
"""Questions about an image with their answers."""
RESTING_TASKS = names_of(lambda task: task.is_of_all)
"""Annotations that go with any of those that they were merged from."""
MASK_TASKS = names_of(lambda task: "mask_rle" in task.needs)
DETECTION_TASKS = names_of(
    lambda task: task.kind == "region" and task.words == "name" and not task.is_of_region
)
"""Boxes with a name, found in the image."""
DESCRIBED_TASKS = names_of(
    lambda task: task.kind == "region" and task.words in ("name", "sentence")
)
"""Regions whose words tell what is in them."""
NAMELESS_TASKS = names_of(lambda task: task.kind == "region" and not task.words)
"""Regions without words of their own: there are none, or their box has them."""


def checked_captions(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of tasks of captions, each once.

    Raises:
        ValueError: one is not the name of such a task.
    """
    for name in names:
        if name not in CAPTION_TASKS:
            raise ValueError(f"{name!r} is no caption task, {nearest(name, CAPTION_TASKS)}")
    return tuple(dict.fromkeys(names))
