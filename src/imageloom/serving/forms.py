"""Takes the one picture out of a `multipart/form-data` body (RFC 7578), which is in memory already.

Not by Bottle's own parser, which goes through a body line by line and through temporary files: one that is made of
empty lines keeps it busy for a minute.
"""

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

# Nobody sends so many fields with a picture.
MAX_FIELDS = 100


class FormError(ValueError):
    """The body is no form with one picture in it; the message says why."""


def is_form(content_type: str) -> bool:
    """Whether a request's Content-Type announces a form."""
    return parse_options_header(content_type)[0] == "multipart/form-data"


def picture(content_type: str, body: bytes) -> bytes:
    """The bytes of the form's one file, whatever its field is called.

    Raises:
        FormError: It is no complete form, or holds no file or several.
    """
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    files: list[list[bytes]] = []  # each in the pieces that the parser gives
    try:
        # Latin-1, since names are not looked at, and no bytes of an old client's are wrong in it.
        with PushMultipartParser(boundary, max_segment_count=MAX_FIELDS, header_charset="latin-1") as parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    pieces: list[bytes] = []
                    if event.filename is not None:
                        files.append(pieces)
                elif event:
                    pieces.append(event)
    except MultipartError as fault:
        raise FormError(f"the form cannot be read: {fault}") from None
    if len(files) != 1:
        raise FormError(f"the form must hold one file; found {len(files)}")
    return b"".join(files[0])
