"""Takes the one picture out of a `multipart/form-data` body (RFC 7578).

Bottle's own parser goes through a body line by line and through temporary files, which a body made of empty lines keeps
busy for a minute; a body that is in memory already can simply be cut.
"""

from email.message import Message
from email.parser import BytesHeaderParser

# Nobody sends so many fields with a picture.
MAX_PARTS = 100


class FormError(ValueError):
    """The body is no form with one picture in it; the message says why."""


def is_form(content_type: str) -> bool:
    """Whether a request's Content-Type announces a form."""
    return content_type.partition(";")[0].strip().lower() == "multipart/form-data"


def picture(content_type: str, body: bytes) -> bytes:
    """The bytes of the form's one file, whatever its field is called.

    Raises:
        FormError: It is no complete form, or holds no file or several.
    """
    header = Message()
    header["Content-Type"] = content_type.replace("\r", " ").replace("\n", " ")
    boundary = header.get_boundary()
    if not boundary:
        raise FormError("the Content-Type of a form needs a boundary")
    files = [content for headers, content in _parts(body, boundary) if headers.get_filename() is not None]
    if len(files) != 1:
        raise FormError(f"the form must hold one file; found {len(files)}")
    return files[0]


def _parts(body: bytes, boundary: str) -> list[tuple[Message, bytes]]:
    """Headers and content of every part."""
    separator = b"\r\n--" + boundary.encode("utf-8", "surrogateescape")
    # With a line break before it the first separator looks like all others; what stands before it means nothing.
    sections = (b"\r\n" + body).split(separator, MAX_PARTS + 1)[1:]
    if not sections or not sections[-1].startswith(b"--"):
        raise FormError(f"the form is cut short, or has more than {MAX_PARTS} fields")
    parser = BytesHeaderParser()
    parts = []
    for section in sections[:-1]:
        # Blanks may follow the boundary; then comes its line's end, the headers, an empty line, the content.
        padding, _, rest = section.partition(b"\r\n")
        head, found, content = (b"\r\n" + rest).partition(b"\r\n\r\n")
        if padding.strip() or not found or len(head) > 8192:
            raise FormError("a field of the form has no headers, or too many")
        parts.append((parser.parsebytes(head[2:] + b"\r\n\r\n"), content))
    return parts
