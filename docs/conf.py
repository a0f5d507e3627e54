"""How Sphinx builds the documentation: `make docs`, without a network; a warning is an error.

Sphinx, MyST and Furo are maintained and have link checks, doctests and references to code. MkDocs
was the other candidate: its 1.x has had no release since August 2024, and Material for MkDocs gets
fixes only, until 2027.
"""

from __future__ import annotations

import os
import re
from importlib.metadata import version as version_of
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from florilegium.pipelines.reference.pages import write_reference

HERE = Path(__file__).parent
ROOT = HERE.parent
INCLUDED = {
    ROOT / "ARCHITECTURE.md": HERE / "project" / "architecture.md",
    ROOT / "CHANGELOG.md": HERE / "project" / "changelog.md",
    ROOT / "CONTRIBUTING.md": HERE / "project" / "contributing.md",
    ROOT / "README.md": HERE / "index.md",
    ROOT / "SECURITY.md": HERE / "project" / "security.md",
}
"""Files at the root, and the page that includes each one or stands in for it."""
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")

project = "Florilegium"
author = "The authors of Florilegium"
copyright = "the authors of Florilegium, Apache-2.0"
version = release = version_of("florilegium")

extensions = ["myst_parser", "sphinx_copybutton"]
exclude_patterns = ["examples/**/.*"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

html_theme = "furo"
html_title = "Florilegium"
html_static_path = ["pictures/style.css"]
html_css_files = ["style.css"]
html_show_sphinx = False


def setup(app: Sphinx) -> None:
    """Write the reference, mend links of included files, and draw formulas as MathML.

    Browsers draw MathML themselves; MathJax would be fetched by every reader.
    """
    write_reference(HERE / "reference")
    app.connect("include-read", _relink)
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))


def _relink(app: Sphinx, included: Path, parent: str, content: list[str]) -> None:
    """Make relative links of an included file relative to its page, which lies in a folder of
    `docs`, and lead those to other included files to their pages."""

    def relinked(link: re.Match[str]) -> str:
        target = (HERE / included.parent / link[0]).resolve()
        return os.path.relpath(INCLUDED.get(target, target), HERE / "project")

    content[0] = _LINK.sub(relinked, content[0])


def _inline(writer: HTML5Translator, node: nodes.math) -> None:
    writer.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _block(writer: HTML5Translator, node: nodes.math_block) -> None:
    formula = tex2mathml(node.astext(), as_block=True)
    writer.body.append(f'<div class="formula">{formula}</div>')
    raise nodes.SkipNode
