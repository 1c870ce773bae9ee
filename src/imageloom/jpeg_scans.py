"""In how many scans a JPEG comes, by its markers (ITU-T T.81, annex B), without decoding it.

A JPEG of one scan is decoded line by line. One of several (progressive, or a colour at a time) is kept whole in memory
while it is decoded, and every scan goes through all of it, however few bytes it has: a small file with many thousands
of scans would keep a processor busy for hours.
"""

import re

# From the compressed data to the next marker that is not part of them: not a stuffed 0, a restart or a fill byte.
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_FRAMES = {code for code in range(0xC0, 0xD0) if code not in (0xC4, 0xC8, 0xCC)}


def scans(data: bytes, most: int) -> int:
    """How many scans the JPEG has; 2 for a progressive one that has fewer.

    Args:
        data: The file.
        most: Counting ends above this.
    """
    found, components, least = 0, 0, 1
    place = 2
    while match := _MARKER.search(data, place):
        code, place = match[1][0], match.end()
        if code == _EOI and found:
            break
        if code in (_SOI, _EOI):
            continue
        body = data[place + 2 : place + 8]
        place += max(2, int.from_bytes(data[place : place + 2], "big"))
        if code in _FRAMES and len(body) == 6:
            components, least = body[5], 2 if code in _PROGRESSIVE else 1
        if code == _SOS:
            found += 1
            if least == 1 and body[:1] == bytes([components]):
                return 1  # all colours at once: the decoder reads no further
            if found > most:
                break
    return max(found, least)
