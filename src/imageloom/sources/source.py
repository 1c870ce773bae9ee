"""What every kind of source has in common: its parameters, what it is told, and what it yields."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from imageloom.errors import DataError
from imageloom.fetch.http import Fetched, Http
from imageloom.params import UNLABELLED, StageParams, folder_safe, nearest

MOST_NAMED = 5  # classes, in one message


@dataclass(frozen=True)
class Candidate:
    """An address that may give a picture.

    Args:
        url: http or https, or an address in a storage such as `s3://bucket/1.jpg`; a file's is `file:` and its path
            below the project, or its whole path outside it; in an archive, with `!/` and the path inside after it.
        class_name: The class it is listed under.
        source: The kind of the source.
        page: Where it was found.
        title: What the source calls it.
        author: Who made it.
        licence: What allows its use.
        file: Where a file stands; None for what is fetched.
        read: Gives what stands in an archive or a storage, or `too_large` where that is more bytes than it is told;
            None for files and for what is fetched. Called from several threads.
    """

    url: str
    class_name: str
    source: str
    page: str | None = None
    title: str | None = None
    author: str | None = None
    licence: str | None = None
    file: Path | None = None
    read: Callable[[int], Fetched] | None = None


@dataclass(frozen=True)
class Context:
    """What a source is told.

    Args:
        root: The project's folder.
        classes: Names of the classes that `params.yaml` lists; empty where the sources name them.
        where: The source's place in `params.yaml`, such as `scrape.sources.0`, for messages.
        unread: What the source tells: the classes that it could not list whole, such as by a dead page.
    """

    root: Path
    classes: tuple[str, ...]
    where: str
    unread: set[str] = field(default_factory=set, compare=False)


# Fetches a page, by the same client and under the same limits as the pictures.
GetPage = Callable[[str], Awaitable[Fetched]]


class Source(StageParams):
    """One entry of `scrape.sources`; each kind is a subclass with parameters of its own."""

    kind: str = Field(description="What kind of source this is.")

    def classes(self, context: Context) -> tuple[str, ...]:
        """The classes that this source lists pictures of, `UNLABELLED` for a pool.

        It raises what can be told before anything is fetched.

        Raises:
            DataError: The source cannot be read, or names a class that `params.yaml` does not.
        """
        raise NotImplementedError

    @property
    def home(self) -> str | None:
        """The one host of all its addresses, where it can move; what is known of another's is known of this one's."""
        return None

    @property
    def doubt(self) -> str:
        """After a crawl: what looks like a mistake if that listed fewer addresses than are known; empty if nothing."""
        return ""

    def allowed_hosts(self, context: Context) -> Sequence[str]:
        """Hosts of its own that may be asked although they are inside, as `scrape.allow_hosts` lists them."""
        return ()

    def opened(self, context: Context) -> AbstractContextManager[object]:
        """What must be running while the pictures are fetched."""
        return nullcontext()

    def asks(self, http: Http) -> GetPage:
        """How `candidates` is to fetch its pages."""
        return http.page

    def candidates(self, context: Context, get: GetPage) -> AsyncIterator[Candidate]:
        """Lists addresses, each class's in the source's own order.

        Raises:
            DataError: The source, or all of it for one class, gives nothing: for those that `context.unread` has, or
                for all where it has none.
        """
        raise NotImplementedError


def known_class(name: str, context: Context, named_by: str) -> str:
    """The class of that name, or the pool of pictures without a label where it has that name.

    Raises:
        DataError: It cannot be a folder's name, or `params.yaml` has other classes.
    """
    try:
        name = folder_safe(name)
    except ValueError as fault:
        raise DataError(f"{named_by}: a class cannot be called {name!r}: it {fault}", "rename it") from None
    if context.classes and name not in (*context.classes, UNLABELLED):
        hint = nearest(name, context.classes)
        raise DataError(f"{named_by}: no class {name!r} in params.yaml", f"{hint} (or add it to `classes`)")
    return name


def gave_nothing(faults: Mapping[str, DataError]) -> DataError:
    """One fault for all the classes of a source that gave nothing: the first one's, with the names of the others.

    Args:
        faults: What went wrong, by class.
    """
    first = next(iter(faults.values()))
    others = [repr(name) for name in faults][1:]
    if not others:
        return first
    more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
    return DataError(f"{first.message}; and nothing of {', '.join(others[:MOST_NAMED])}{more}", first.hint)
