"""Openverse, which finds openly licensed pictures on Flickr, Wikimedia Commons, museums' sites and others."""

from typing import Annotated, Any, Literal

from pydantic import Field

from imageloom.sources.search import Address, Found, Query, SearchSource, text

_NAMES = {"cc0": "CC0", "pdm": "Public Domain Mark"}


class Openverse(SearchSource):
    """Its public interface, https://api.openverse.org/v1/; who does not log in is shown 240 pictures a search."""

    kind: Literal["openverse"] = Field(description="Openly licensed pictures that Openverse finds.")
    base: Address = Field(default="https://api.openverse.org/v1/images/", description="Address of its image search.")
    licence_types: list[Literal["commercial", "modification"]] = Field(
        default=[], description="Take pictures whose licence allows this: commercial use, modification, or both."
    )
    page_size: int = Field(
        default=20, ge=1, le=20, description="Pictures an answer; who does not log in may ask for 20."
    )
    filters: dict[str, Annotated[str, Field(min_length=1)]] = Field(
        default={}, description="More of the interface's own parameters, such as `category: photograph`."
    )

    def query(self, term: str) -> Query:
        """The first page's parameters."""
        chosen = {"license": ",".join(self.licences), "license_type": ",".join(self.licence_types)}
        given = {name: value for name, value in chosen.items() if value}
        return {"q": term, **given, **self.filters, "page_size": str(self.page_size), "page": "1"}

    def found(self, answer: dict[str, Any]) -> list[Found]:
        """The entries of `results`."""
        results = answer.get("results")
        entries = results if isinstance(results, list) else []
        return [_found(entry) for entry in entries if isinstance(entry, dict) and text(entry.get("url"))]

    def following(self, answer: dict[str, Any], asked: Query) -> Query | None:
        """The next page, up to `page_count`; the interface refuses pages beyond it."""
        page, count = int(asked["page"]), answer.get("page_count")
        if not isinstance(count, int) or page >= count or not answer.get("results"):
            return None
        return {**asked, "page": str(page + 1)}


def _found(entry: dict[str, Any]) -> Found:
    code = (text(entry.get("license")) or "").lower()
    words = [_NAMES.get(code, f"CC {code.upper()}"), text(entry.get("license_version"))] if code else []
    return Found(
        url=entry["url"].strip(),
        page=text(entry.get("foreign_landing_url")),
        title=text(entry.get("title")),
        author=text(entry.get("creator")),
        licence=" ".join(word for word in words if word) or None,
        code=code or None,
    )
