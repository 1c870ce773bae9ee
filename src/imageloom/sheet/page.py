"""Puts a page together: the template, and style and script inside it, of which the browser runs no other."""

import base64
import hashlib
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


def render(template: Path, **values: Any) -> str:
    """The page that a template makes of some values.

    Args:
        template: A `.html` file that extends sheet.html; files of its name with `.css` and `.js` beside it, where there
            are any, are added to what all pages have.
        values: What the template is given.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader([template.parent, _HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (_both(template.with_suffix(kind)) for kind in (".css", ".js"))
    return environment.get_template(template.name).render(
        style=Markup(style),
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **values,
    )


def _both(own: Path) -> str:
    """What all pages have, and what one has of its own."""
    shared = (_HERE / f"sheet{own.suffix}").read_text(encoding="utf-8")
    return shared + (own.read_text(encoding="utf-8") if own.exists() else "")
