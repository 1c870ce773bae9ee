"""Takes the one picture out of a `multipart/form-data` body (RFC 7578).

Bottle's own parser goes through a body line by line and through temporary files, which a body made of empty lines keeps
busy for a minute; a body that is in memory already can simply be cut.
"""

import re

# Nobody sends so many fields with a picture.
MAX_PARTS = 100
MAX_HEAD_BYTES = 8192

# RFC 2046 allows 1 to 70 characters of ASCII.
_BOUNDARY = re.compile(r""";\s*boundary=(?:"([ -!#-~]{1,70})"|([!#-:<-~]{1,70}))(?:\s*;|\s*$)""", re.IGNORECASE)
_QUOTED = re.compile(rb'"(?:\\.|[^"\\])*"')
_FILE = re.compile(rb"^content-disposition:[^\r]*;\s*filename\*?=", re.IGNORECASE | re.MULTILINE)


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
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise FormError("the Content-Type of a form needs a boundary")
    parts = _parts(body, (boundary[1] or boundary[2]).encode())
    # A field called `a; filename=b` is no file: what stands in quotes does not count.
    files = [content for head, content in parts if _FILE.search(_QUOTED.sub(b'""', head))]
    if len(files) != 1:
        raise FormError(f"the form must hold one file; found {len(files)}")
    return files[0]


def _parts(body: bytes, boundary: bytes) -> list[tuple[bytes, bytes]]:
    """Headers and content of every part."""
    # With a line break before it the first separator looks like all others; what stands before it means nothing.
    sections = (b"\r\n" + body).split(b"\r\n--" + boundary, MAX_PARTS + 1)[1:]
    if not sections or not sections[-1].startswith(b"--"):
        raise FormError(f"the form is cut short, or has more than {MAX_PARTS} fields")
    parts = []
    for section in sections[:-1]:
        # Blanks may follow the boundary; then come its line's end, the headers, an empty line, the content.
        head, found, content = section.partition(b"\r\n\r\n")
        padding, _, headers = head.partition(b"\r\n")
        if padding.strip() or not found or len(head) > MAX_HEAD_BYTES:
            raise FormError("a field of the form has no headers, or too many")
        parts.append((headers, content))
    return parts
