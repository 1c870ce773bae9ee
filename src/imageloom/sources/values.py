"""Values that several kinds of sources take."""

import codecs
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

# Text to Python and to nobody else; some of them fail on bytes that others replace, or take for ever.
_NOT_FOR_TEXT = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}


def is_encoding(name: str) -> bool:
    """Whether text can be in an encoding of this name."""
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError, OSError):  # of names that hold what no name does
        return False
    return found._is_text_encoding and found.name.replace("_", "-") not in _NOT_FOR_TEXT


def _encoding(name: str) -> str:
    if not is_encoding(name):
        raise ValueError("must be an encoding, such as gbk")
    return name


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


Encoding = Annotated[str, AfterValidator(_encoding)]

# Who writes more has mistyped: no site has so many pages, and no disk holds so many pictures.
Pages = Annotated[int, Field(ge=1, le=1_000_000)]
Pictures = Annotated[int, Field(ge=1, le=100_000_000)]

# Of a list of texts: one may be given without the brackets.
OneOrMore = BeforeValidator(_several)
