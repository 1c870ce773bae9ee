"""What can go wrong, as the user is told it: one line that says what is wrong, and a hint that says what to do."""


class ImageloomError(Exception):
    """A fault that its user can mend; the command line prints it as `error:` and `hint:` lines and exits with 2.

    Args:
        message: What must hold and what was found instead, in one line.
        hint: What to do about it; empty where the message says it already.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ParamsError(ImageloomError):
    """`params.yaml` is missing, is not YAML, or holds a value that its stage refuses."""


class DataError(ImageloomError):
    """The pictures, or a table made from them, are not enough or not what the stage needs."""


class ModelError(ImageloomError):
    """A backbone, a classifier or an exported model is missing, altered or not what it says it is."""


class ImageError(ImageloomError):
    """Bytes that are not a picture which can be used.

    Args:
        message: What is wrong with the picture.
        kind: One of `not_image`, `corrupt`, `bomb` (more pixels than allowed).
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind
