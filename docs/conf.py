"""The documentation as a site: ``python -m sphinx -W docs build/site``.

The pages stay Markdown that reads well where the code is hosted. What only a site needs is said here: which page stands
where (``NAVIGATION``), and what becomes of links that leave the folder.
"""

from __future__ import annotations

import inspect
import json
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from gnncomm import __version__  # noqa: E402

project, author = "gnncomm", "The gnncomm authors"
project_copyright = "The gnncomm authors, MIT licence"
release = __version__

NAVIGATION: dict[str, dict[str, list[str]]] = {
    "index": {
        "Start": ["tour", "ideas", "coming_from", "faq"],
        "Guides": [
            "extending",
            "guides/lossy_channels",
            "guides/large_teams",
            "guides/own_losses",
            "guides/reading_an_evaluation",
            "compare",
            "sweep",
            "probe",
            "guides/reproducing_a_run",
            "replay",
            "multiagent",
            "deploy",
            "adapters",
            "notebooks/what_do_they_say",
            "notebooks/your_layer_your_task",
            "examples",
        ],
        "Parts": ["layers", "topologies", "schedulers", "codecs", "channels", "policies", "names"],
        "Catalogue": ["methods/index", "envs/index", "learners/index"],
        "Results": ["results", "closed_forms", "speed"],
        "Reference": ["command_line", "training", "evaluation", "store", "resume", "laws", "api"],
        "Project": ["architecture", "contributing", "changelog"],
    },
    "methods/index": {"": ["*"]},
    "envs/index": {"": ["own", "*"]},
    "learners/index": {"": ["ppo", "a2c", "reinforce", "coma", "maddpg", "values", "pqn", "replay"]},
}
"""Page -> heading in the side bar -> the pages below it, in order; ``*``: all others of its folder."""

OUTSIDE = {"README.md": "tour.md", "CHANGELOG.md": "changelog.md"}
"""Pages of the project outside this folder, and where the site shows what they say."""

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown", ".ipynb": "markdown"}
exclude_patterns = ["results/*", "bench/*"]
templates_path = ["_templates"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["ref.python"]  # an error that two rooms show has two places
highlight_language = "none"

html_theme, html_math_renderer = "furo", "mathml"
html_title = "gnncomm"
html_static_path = ["_static"]
html_css_files = ["gnncomm.css"]
html_favicon = "_static/mark.svg"
html_copy_source = False
html_theme_options = {
    "light_logo": "logo.svg",
    "dark_logo": "logo_dark.svg",
    "sidebar_hide_name": True,
    "light_css_variables": {
        "color-brand-primary": "#005a8d",
        "color-brand-content": "#005a8d",
        "color-brand-visited": "#5b4a8a",
    },
    "dark_css_variables": {
        "color-brand-primary": "#6db9ea",
        "color-brand-content": "#6db9ea",
        "color-brand-visited": "#b9a6e8",
    },
}
pygments_style, pygments_dark_style = "friendly", "native"

autosummary_generate = True
autosummary_imported_members = True
autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_mock_imports = ["gymnasium", "pettingzoo"]
autosummary_context = {
    "packages": {f"gnncomm.{path.parent.name}" for path in (HERE.parent / "gnncomm").glob("*/__init__.py")}
}
nitpick_ignore_regex = [
    (
        "py:(class|obj)",
        ".*",
    ),  # types in signatures that have no page here: torch's, typing's, what a file keeps to itself
    ("py:exc", r"(ValueError|TypeError|OSError|RuntimeError|AssertionError|NotImplementedError)"),
]
napoleon_numpy_docstring = False
maximum_signature_line_length = 88


def as_page(text: str) -> str:
    """A notebook as Markdown: its cells one after the other."""
    cells = json.loads(text)["cells"]
    said = [("".join(cell["source"]), cell["cell_type"]) for cell in cells]
    return "\n\n".join(f"```python\n{source}\n```" if kind == "code" else source for source, kind in said)


def inside(text: str, name: str) -> str:
    """The text of page ``name`` as the site has it: links to ``OUTSIDE`` lead to its pages, by their titles."""
    here = posixpath.dirname(name)
    for outer, page in OUTSIDE.items():
        leaving = posixpath.relpath(f"../{outer}", here or ".")
        target = posixpath.relpath(page, here or ".")
        text = re.sub(rf"\]\({re.escape(leaving)}(?:#[\w-]+)?\)", f"]({target})", text)
    return re.sub(r"\[[\w/.]+\.md\]\(", "[](", text)  # a page by its title instead of the name of its file


def toctrees(name: str) -> str:
    trees = []
    for caption, pages in NAVIGATION.get(name, {}).items():
        options = ["hidden", "glob", *([f"caption: {caption}"] if caption else [])]
        below = [*(f":{option}:" if ":" not in option else ":" + option for option in options), "", *pages]
        trees.append("\n".join(["```{toctree}", *below, "```"]))
    return "\n\n".join(trees)


def read(app: Any, name: str, source: list[str]) -> None:
    if Path(app.env.doc2path(name)).suffix == ".ipynb":
        source[0] = as_page(source[0])
    source[0] = inside(source[0], name) + ("\n\n" + toctrees(name) if name in NAVIGATION else "")


def plain(_app: Any, what: str, name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Before and after napoleon, which takes what stands before a colon for a type where an attribute is described;
    and a letter with a full stop ("N.") is no list."""
    if what in ("attribute", "data", "property"):
        lines[:] = PLAIN.setdefault(name, list(lines))
    lines[:] = [re.sub(r"^(\s*\w+: )([A-Z]\.)", r"\1\\\2", line) for line in lines]


PLAIN: dict[str, list[str]] = {}


def moved(app: Any, env: Any, node: Any, content: Any) -> Any:
    """A link to ``gnncomm.room.file.Name`` leads to ``gnncomm.room.Name``, where it is public."""
    parts = node.get("reftarget", "").split(".")
    if node.get("refdomain") != "py" or parts[0] != "gnncomm" or len(parts) < 4:
        return None
    public = ".".join([*parts[:2], *parts[3:]])
    return env.get_domain("py").resolve_xref(env, node["refdoc"], app.builder, node["reftype"], public, node, content)


SAID_OTHERWISE = {
    r"\\(?:big|Big)[lr]?(?![a-z])": "",
    r"\\dots": r"\\ldots",
    r"\\iff": r"\\Leftrightarrow",
    r"\\mathrel\{\+\}": "+",
}
"""Commands of LaTeX that docutils does not know, and what stands in for them."""


def mathml(text: str, block: bool) -> str:
    """A formula as the browser draws it, without a script from elsewhere."""
    from docutils.utils.math.latex2mathml import tex2mathml

    for other, known in SAID_OTHERWISE.items():
        text = re.sub(other, known, text)
    return str(tex2mathml(text, as_block=block))


def formula(writer: Any, node: Any) -> None:
    from docutils import nodes

    writer.body.append(mathml(node.astext(), isinstance(node, nodes.math_block)))
    raise nodes.SkipNode


def constructor(_app: Any, what: str, _name: str, obj: Any, *_: Any) -> tuple[str, str] | None:
    """What a class takes by ``__init__``, where its ``__new__`` takes anything (to remember it)."""
    from sphinx.util.inspect import signature, stringify_signature

    if what != "class" or not (inspect.isfunction(obj.__new__) and inspect.isfunction(obj.__init__)):
        return None
    return stringify_signature(signature(obj.__init__, bound_method=True), show_return_annotation=False), ""


def setup(app: Any) -> None:
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
    app.connect("autodoc-process-signature", constructor)
    for moment in (400, 600):
        app.connect("autodoc-process-docstring", plain, priority=moment)
    app.connect("missing-reference", moved)
    app.connect("source-read", read)
