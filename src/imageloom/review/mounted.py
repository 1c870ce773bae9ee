"""The review page inside `imageloom serve --review`, for the machine that it runs on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from imageloom import decisions
from imageloom.files import Paths
from imageloom.review.app import Review, create_app, me
from imageloom.review.door import Door


def application() -> Callable[..., Any]:
    """The page of the project in the current folder, as a WSGI application.

    Not as Bottle's own kind, of which a mount takes the routes and leaves out what checks every request.

    Raises:
        ImageloomError: Nothing was crawled yet, or a table or the decisions are damaged.
    """
    paths = Paths(Path.cwd())
    review = Review(paths, Door("localhost"), me())
    decisions.begin(paths.decisions)
    application: Callable[..., Any] = create_app(review).wsgi
    return application
