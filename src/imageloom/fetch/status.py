"""What became of an address: a closed list, so that every failure can be counted by its cause."""

from enum import StrEnum


class Status(StrEnum):
    """The fate of one address in one crawl; the text beside it, `error`, says more and is not compared."""

    OK = "ok"  # a picture, new or changed since the last crawl
    UNCHANGED = "unchanged"  # the picture that is already here
    GONE = "gone"  # HTTP 404 or 410, or a file that is no longer in its folder
    HTTP_ERROR = "http_error"  # another HTTP error, or a connection that was refused or broke off
    TIMEOUT = "timeout"  # no whole answer in the time allowed
    DNS = "dns"  # the host's name has no address
    TLS = "tls"  # the host's certificate or encryption is refused
    ROBOTS = "robots"  # the host's robots.txt asks not to, or cannot be known now
    OPTED_OUT = "opted_out"  # the answer's X-Robots-Tag asks not to
    TOO_LARGE = "too_large"  # more bytes than `scrape.max_bytes`
    TOO_SMALL = "too_small"  # a side shorter than `scrape.min_side`
    NOT_IMAGE = "not_image"  # bytes in no known picture format, such as an error page served as .jpg
    CORRUPT = "corrupt"  # a picture that is damaged or cut short
    BOMB = "bomb"  # more pixels than any camera's, or a small answer that unfolds to a very large one
    BLOCKED_ADDRESS = "blocked_address"  # never asked: it leads inside (see netguard), or is not on the web
    RATE_LIMITED = "rate_limited"  # HTTP 429 to the last


# What stands beside `opted_out` where somebody here decided it, and not the answer's headers.
FORGOTTEN = "forgotten on request"
DROPPED = "dropped in review"

# What a usable picture's row shows after a crawl that went well.
GOOD = (Status.OK, Status.UNCHANGED)
