"""Which letters a figure can show: those of the fonts that are installed here."""

import logging
from collections.abc import Sequence

_SCRIPTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans CN",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Microsoft YaHei",
)


def family() -> list[str]:
    """The fonts for Matplotlib's `font.family`: its own, then those for other scripts."""
    from matplotlib import font_manager

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in _SCRIPTS if name in installed)]


def drawable(*choices: Sequence[str], noun: str = "class") -> list[str]:
    """What to write for each of several things: the first of its texts whose letters are there, else noun and number.

    Args:
        choices: Lists of the same length, such as labels and then names.
        noun: What they are.
    """
    letters = _letters()
    chosen = []
    for number, texts in enumerate(zip(*choices, strict=True), start=1):
        fits = (text for text in texts if all(ord(letter) in letters for letter in text))
        chosen.append(next(fits, f"{noun} {number}").replace("$", r"\$"))
    return chosen


def _letters() -> set[int]:
    from matplotlib import font_manager, ft2font

    paths = [font_manager.findfont(name) for name in family()]
    return {code for path in paths for code in ft2font.FT2Font(path).get_charmap()}
