"""Takes the files out of a `multipart/form-data` body (RFC 7578), which is in memory already.

Not by Bottle's own parser, which goes through a body line by line and through temporary files: one that is made of
empty lines keeps it busy for a minute.
"""

from dataclasses import dataclass

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

# Nobody sends so many fields at once.
MAX_FIELDS = 100


class FormError(ValueError):
    """The body is no form; the message says why."""


@dataclass(frozen=True)
class File:
    """A file in a form.

    Args:
        field: The form's field that it is in.
        name: What the sender calls it.
        data: Its content.
    """

    field: str
    name: str
    data: bytes


def is_form(content_type: str) -> bool:
    """Whether a request's Content-Type announces a form."""
    return parse_options_header(content_type)[0] == "multipart/form-data"


def files(content_type: str, body: bytes) -> list[File]:
    """The form's files, in their order.

    Raises:
        FormError: It is no complete form.
    """
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    found: list[tuple[MultipartSegment, list[bytes]]] = []  # each in the pieces that the parser gives
    try:
        # Latin-1, since no bytes of an old client's are wrong in it; `_text` makes names of it.
        with PushMultipartParser(boundary, max_segment_count=MAX_FIELDS, header_charset="latin-1") as parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    pieces: list[bytes] = []
                    if event.filename is not None:
                        found.append((event, pieces))
                elif event:
                    pieces.append(event)
    except MultipartError as fault:
        raise FormError(f"the form cannot be read: {fault}") from None
    return [File(_text(part.name), _text(part.filename), b"".join(pieces)) for part, pieces in found]


def _text(header: str) -> str:
    """What browsers send as UTF-8, and what has been read as Latin-1."""
    return header.encode("latin-1", "replace").decode("utf-8", "replace")
