"""HTML pages that stand by themselves: Jinja templates over one frame, style sheets and scripts inlined, nothing fetched."""

from __future__ import annotations

import functools
import os
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atrous.system.text import one_line, score

if TYPE_CHECKING:
    from jinja2 import Environment

_ROOT = Path(__file__).parents[1]  # each room's templates lie beside its code


def render(template: str, **content: Any) -> str:
    """A whole page.

    Args:
        template: Its path in the package, such as "report/page.html".
        content: What the template shows; every text is of any origin, and is made printable and escaped.
    """
    return _environment().get_template(template).render(sections=[], **content)


def source(path: str) -> str:
    """The text of a style sheet or script of ours, by its path in the package."""
    return (_ROOT / path).read_text(encoding="utf-8")


@functools.cache
def _environment() -> Environment:
    import jinja2  # a tenth of a second, for pages alone
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_ROOT),
        autoescape=True,
        finalize=_printable,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"at_most": one_line, "score": score}
    environment.globals |= {"inline": lambda path: Markup(source(path)), "relative_url": _relative_url}
    return environment


def _printable(value: Any) -> Any:
    return value if hasattr(value, "__html__") or isinstance(value, int | float) else one_line(value)


def _relative_url(folder: Path, out: Path) -> str:
    return urllib.parse.quote(os.fsencode(os.path.relpath(folder, out)))
