"""`imageloom forget`: takes a picture out of the working data, sees that it does not come back, and says who saw it."""

import argparse
import re
import unicodedata
from collections import Counter
from pathlib import Path

from imageloom import network, params, tables
from imageloom.console import counted, say
from imageloom.errors import ImageloomError
from imageloom.features import FeatureStore, picture_of
from imageloom.fetch.forgotten import Forgotten, erase, remember, spelt_once
from imageloom.fetch.ledger import Ledger, host
from imageloom.fetch.netguard import allowance
from imageloom.files import Paths

FEWEST_DIGITS = 12  # of a SHA-256 by which a picture is named; its file's name shows 20

_DIGITS = re.compile(rf"[0-9a-f]{{{FEWEST_DIGITS},64}}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what to forget, and why."""
    parser.add_argument("what", nargs="?", metavar="URL|SHA", help="a picture's address, or its SHA-256 or file name")
    parser.add_argument("--host", metavar="H", help="everything at this host, those below it, and on their pages")
    parser.add_argument("--why", default="", metavar="TEXT", help="kept beside it in data/review/forgotten.csv")
    parser.add_argument("-C", "--project", type=Path, default=Path(), metavar="DIR", help="folder of params.yaml")


def run(arguments: argparse.Namespace) -> None:
    """Forgets one address, one picture or one host.

    Raises:
        ParamsError: This is no project.
        ImageloomError: It is no name of anything that could be forgotten, or a crawl is at work.
    """
    if (arguments.what is None) == (arguments.host is None):
        raise ImageloomError("name one thing to forget", "an address, a SHA-256, or --host and a host's name")
    paths = Paths(arguments.project.resolve())
    if not paths.params.exists():
        raise params.missing(paths.params)
    manifest = paths.raw / "manifest.parquet"
    with Ledger(paths.ledger, manifest) as ledger:
        try:
            entries, shas, unknown = _found(arguments, ledger)
            remember(paths.forgotten, entries, arguments.why)  # first: whatever ends this now, it does not come back
            files = _remove_files(shas, paths)
            rows = erase(ledger, Forgotten.read(paths), paths.raw)
            if ledger.resumed or manifest.exists():
                ledger.export()
        finally:
            if not ledger.resumed:
                ledger.remove()
    vectors = _drop_features(shas, paths)
    note = paths.forgotten.relative_to(paths.root)
    if unknown:
        say(f"{unknown}; noted, it will not come: commit {note}")
        return
    removed = f"{counted(files, 'file')} and {counted(vectors, 'feature vector')} removed"
    say(f"forgot {counted(len(shas), 'picture')} of {counted(rows, 'address', 'addresses')}: {removed}")
    say(f"noted in {note}: commit it, and no crawl brings them back")
    _say_who_saw(shas, paths)
    say("next: `dvc commit --force scrape embed`, then `dvc repro`, which trains without them")
    say("DVC's cache and remotes hold them with the older versions, until `dvc gc` removes those")


def _found(arguments: argparse.Namespace, ledger: Ledger) -> tuple[list[tuple[str, str]], set[str], str]:
    """What to remember, the pictures that go, and what to say where nothing is known of either."""
    if arguments.host is not None:
        return _at_host(_host_name(arguments.host), ledger)
    what = arguments.what.strip()
    if match := _DIGITS.fullmatch(Path(what).stem.lower()):
        digits = match.group()
        known = {sha for (sha,) in ledger.select("SELECT DISTINCT sha256 FROM rows WHERE sha256 LIKE ?", f"{digits}%")}
        if len(known) > 1:
            raise ImageloomError(f"{len(known)} pictures begin with {digits}", "give more of the SHA-256")
        if not known and len(digits) < 64:
            raise ImageloomError(f"no picture begins with {digits}", "give all 64 digits to forget it all the same")
        shas = known or {digits}
        return [("sha256", sha) for sha in shas], shas, ""
    wanted = spelt_once(what)
    rows = [sha for url, sha in ledger.select("SELECT url, sha256 FROM rows") if spelt_once(url) == wanted]
    if not rows and "://" not in what:
        hint = f"name it as the manifest does; a SHA-256 by {FEWEST_DIGITS} digits or more"
        raise ImageloomError(f"{what!r} is no address and no SHA-256", hint)
    shas = {sha for sha in rows if sha}
    entries = [("url", what), *(("sha256", sha) for sha in sorted(shas))]
    return entries, shas, "" if rows else "no crawl has seen this address"


def _at_host(name: str, ledger: Ledger) -> tuple[list[tuple[str, str]], set[str], str]:
    asked = Forgotten()
    asked.add("host", name)
    # Other hosts may show the same pictures: a picture goes when no address is left that may give it.
    mine, others = set[str | None](), set[str | None]()
    for url, page, sha in ledger.select("SELECT url, page, sha256 FROM rows"):
        (mine if asked.is_about(url, page, None) else others).add(sha)
    shas = {sha for sha in mine - others if sha}
    return [("host", name)], shas, "" if mine else "nothing known is at this host"


def _host_name(text: str) -> str:
    """What a person calls a host, as `forgotten.csv` holds it.

    Raises:
        ImageloomError: It is something else, such as an address or a pattern.
    """
    name = unicodedata.normalize("NFC", text).strip().lower().removeprefix("*.").removesuffix(".")
    try:
        found, _ = allowance(name)
    except ValueError:
        found = None
    if not isinstance(found, str):
        meant = host(text.strip())
        hint = f"did you mean --host {meant}?" if meant and "://" in text else "those below a host go with it"
        raise ImageloomError(f"--host must be a host's name such as shop.example, not {text!r}", hint)
    return f"[{name}]" if name == found and ":" in found else name


def _remove_files(shas: set[str], paths: Paths) -> int:
    """Removes what stands under the pictures' names, versions included that no address gives any more, and thumbnails.

    Returns:
        How many files of data/raw were removed.
    """
    names = {sha[:20] for sha in shas}
    found = [path for path in paths.raw.glob("*/*") if path.name.partition(".")[0] in names]
    shown = [path for path in paths.thumbnails.glob("*/*/*") if path.name.partition(".")[0] in shas]
    for path in (*found, *shown):
        path.unlink()
    return len(found)


def _drop_features(shas: set[str], paths: Paths) -> int:
    store = FeatureStore(paths.features)
    failed = store.failed()
    if failed.keys() & shas:
        store.write_failed({name: why for name, why in failed.items() if name not in shas})
    stores = (store, store.unfinished(), network.own(paths.classifier).features)
    return sum(one.keep_only({name for name in one.ids() if picture_of(name) not in shas}) for one in stores)


def _say_who_saw(shas: set[str], paths: Paths) -> None:
    """Says which versions of the model were made with the pictures, by what was logged with each."""
    from imageloom import track

    if not shas:
        return
    versions = track.versions_that_saw(shas, paths)
    for version, found in versions.items():
        say(
            f"model version {version}: {'not known, its split is not to be had' if found is None else _in_words(found)}"
        )
    if not versions:
        rows = tables.read(paths.split, tables.SPLIT, "split").to_pylist() if paths.split.exists() else []
        sides = Counter(row["side"] for row in rows if row["id"] in shas)
        say(f"no model is registered; what is trained on the current split was {_in_words(sides)}")


def _in_words(sides: Counter[str]) -> str:
    words = {"train": "trained with", "validation": "chosen with", "test": "measured with"}
    return ", ".join(f"{words[side]} {sides[side]:,}" for side in tables.SIDES if sides[side]) or "made without them"
