"""Many files, one image: which file holds which time point, channel and plane, from the names alone.

A pattern is a path with braces: ``run/t{t}/scan_c{c}_z{z}.tif``. Without one, `arrange` guesses it from the
names. No file is opened, and only `candidates` looks at the disk.

What a pattern may hold

- ``{t}``, ``{c}``, ``{z}`` (or upper case): any text of at least one character without a slash. From left to
  right, each brace and star takes as little as the text after it allows. An axis given twice holds the same
  text twice.
- ``{z:d}``: a whole run of digits; ``{z:03d}``: of at least three. Such a brace may stand right beside
  another wildcard, where a plain one is ambiguous and refused.
- ``*``: any text without a slash, or none; ``?``: one character; ``{{`` and ``}}``: braces themselves.
  ``scan*_t{t:d}.tif`` finds the number of ``scan_today_t4.tif``; with ``{t}``, t would be ``oday_t4``.
- A pattern that does not start with a slash is held against the end of a path, slash by slash.

How a pattern is guessed

1. The folder that all files share is set aside; the rest is cut at separators (whatever is no letter and no
   digit; where that does not give the same pieces for all, at underscores and slashes only).
2. What differs from file to file is a number, or a name: text such as ``Cy3`` or ``DAPI``. A name is c.
3. A number belongs to the axis that the word before it says (`WORDS`); a word that says stage position, well
   or view is refused, because those are images of their own.
4. A number without such a word is no axis if it goes 1:1 with another one, if the named axes already tell all
   files apart, or if it differs in every file while the others tell them apart. The rest get the free axes,
   from the last number to the first: z, then t, then c.
5. Whatever stays ambiguous is refused, and a pattern asked for.

How texts become places: see `_places`.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass, field
from decimal import Decimal
from functools import reduce
from itertools import combinations, groupby, islice, pairwise
from math import gcd, prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ngff_convert.errors import OptionError, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

AXES = "tcz"

WORDS = {
    "t": ("t", "tl", "tm", "tp", "time", "timepoint", "timelapse", "frame"),
    "c": ("c", "ch", "chn", "chan", "channel", "w", "wv", "wave", "wavelength", "lambda", "filter"),
    "z": ("z", "zs", "slice", "plane", "sec", "section", "focus", "depth"),
    "position": (
        *("s", "stage", "site", "p", "pos", "position", "point", "xy", "x", "y", "row", "r", "col", "column"),
        *("f", "fld", "field", "fov", "well", "series", "scene", "roi", "m", "tile", "mosaic"),
        *("view", "angle", "illumination", "cam", "cm", "camera", "spm", "specimen"),
    ),
}
"""Words before a number, lower case, and what they say the number counts."""

DYES = ("cy", "alexa", "alexafluor", "af", "atto", "dylight")
"""Words that with a number are the name of a channel: Cy3, Alexa488."""

MAX_NAMED = 10
"""Gaps that are named before the others are only counted."""

MAX_NAMES = 64
"""Different names that are believed to be channels."""

SPARSEST = 16
"""Places for each file, at the most, in a grid of more than `SMALL_GRID` places."""

SMALL_GRID = 1000

LONGEST_WORD = 32
"""Letters before a number that are looked at; names may be long, and words are not."""

_AXIS_OF_WORD = {word: axis for axis, words in WORDS.items() for word in words}

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|\*+|\?|[^{}*?]+|[{}]")
_BRACE = re.compile(r"([tczTCZ])(?::(0?[0-9]{0,2})d)?")
_DIGITS = re.compile(r"([0-9]+)")
_NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?")
_WELL = re.compile(r"[A-P](?:0[1-9]|1[0-9]|2[0-4])")
_RANKED = re.compile(r"0{0,3}([0-9]{1,3})[-_. ]?([^\W\d_].*)", re.DOTALL)
_SEPARATORS = (
    re.compile(r"([\W_]+)"),
    re.compile(r"([_/]+|\.(?=(?:ome\.)?[A-Za-z][A-Za-z0-9]*\Z))"),
)


class Token(NamedTuple):
    """A part of a pattern.

    Attributes
    ----------
    kind
        ``text``, ``any`` (a star), ``one`` (a question mark), ``brace`` (any text) or ``number``.
    text
        Of braces the axis; of others what they stand for.
    width
        Least digits of a ``number``.
    """

    kind: str
    text: str
    width: int = 0

    @property
    def is_free(self) -> bool:
        """Whether its length is known only from what comes after it."""
        return self.kind in ("any", "brace")

    @property
    def has_axis(self) -> bool:
        """Whether it is a brace of either kind."""
        return self.kind in ("brace", "number")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A path with braces, ready to be held against names; made by `parse`.

    Attributes
    ----------
    text
        As written, without needless ``./`` and double slashes.
    axes
        Those that have a brace, a subset of ``tcz``.
    tokens
        Its parts.
    regex
        Matches a whole path, or its end; one group an axis.
    """

    text: str
    axes: str
    tokens: tuple[Token, ...]
    regex: re.Pattern[str]

    def match(self, name: str) -> re.Match[str] | None:
        """Hold the pattern against a path; against its end if the pattern is relative."""
        name = _plain(name)
        if not self.text.startswith("/"):
            depth = self.text.count("/") + 1
            name = "/".join(name.rsplit("/", depth)[-depth:])
        return self.regex.fullmatch(name)


@dataclass(frozen=True, slots=True, eq=False)
class Arrangement:
    """Which file is where.

    Attributes
    ----------
    axes
        Those that the names tell, a subset of ``tcz``; the others have size 1.
    files
        In natural order.
    index
        int32 (t, c, z): number in `files`, -1 where there is no file.
    labels
        For each of `axes` the text in its brace at each place; at a gap that no name shows, the text that
        its name would have.
    pattern
        As given or understood.
    unmatched
        Names that do not match the pattern, and are left out.
    numbers
        (first, step) of t and z where they count evenly.
    """

    axes: str
    files: tuple[str, ...]
    index: NDArray[np.int32]
    labels: Mapping[str, tuple[str, ...]]
    pattern: str
    unmatched: int
    numbers: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def is_pattern(path: str) -> bool:
    """Whether a path has a brace of an axis in it; never raises.

    Examples
    --------
    >>> is_pattern("run/t{t}/c{c}.tif"), is_pattern("{{t}}.tif"), is_pattern("a{1}*.tif")
    (True, False, False)
    """
    inner = (match[1] for match in _TOKEN.finditer(path))
    return any(text is not None and text.partition(":")[0] in {*"tczTCZ"} for text in inner)


def parse(pattern: str) -> Pattern:
    """Read a pattern.

    Raises
    ------
    OptionError
        It has no brace of an axis or one of something else, an odd brace, or braces that nothing separates.

    Examples
    --------
    >>> parse("scan*_t{t}_{C}.tif").axes
    'tc'
    """
    read = _read(pattern)
    if not read.axes:
        raise OptionError(
            f"{_shown(pattern)}: no {{t}}, {{c}} or {{z}} in it; put one where the names differ"
        )
    return read


def _read(pattern: str) -> Pattern:
    """Do what `parse` does, also for a pattern that is the name of one file."""
    text = _plain(pattern)
    tokens = _alike([_token(match, pattern) for match in _TOKEN.finditer(text)])
    if text.endswith("/"):
        raise OptionError(f"{_shown(pattern)}: ends with a slash; give a pattern of files, not of folders")
    _refuse_ambiguous(tokens, pattern)
    axes = "".join(axis for axis in AXES if any(token.has_axis and token.text == axis for token in tokens))
    return Pattern(text, axes, tokens, re.compile(_regex(tokens)))


def _plain(path: str) -> str:
    """Leave out ``./`` and double slashes, which lead to the same file."""
    if "//" in path or "./" in path:
        return re.sub(r"(?<=/)(?:\./|/)+", "", re.sub(r"^(?:\./+)+", "", path))
    return path


def _token(match: re.Match[str], pattern: str) -> Token:
    text = match[0]
    if text in ("{{", "}}"):
        return Token("text", text[0])
    if text[0] == "*":
        return Token("any", "*")
    if text == "?":
        return Token("one", "?")
    if text[0] not in "{}":
        return Token("text", text)
    if match[1] is None:
        raise OptionError(f"{_shown(pattern)}: a {text} without its other half; double it to mean itself")
    brace = _BRACE.fullmatch(match[1])
    if brace is None:
        raise OptionError(
            f"{_shown(pattern)}: {_shown(text)} is not understood; a brace holds t, c or z, or {{z:d}} for a "
            "number; {{ and }} mean the characters"
        )
    axis = brace[1].lower()
    return Token("brace", axis) if brace[2] is None else Token("number", axis, int(brace[2] or 1) or 1)


def _alike(tokens: Sequence[Token]) -> tuple[Token, ...]:
    """Make every brace of an axis a number if one of them is."""
    width: dict[str, int] = {}
    for token in tokens:
        if token.kind == "number":
            width[token.text] = max(token.width, width.get(token.text, 1))
    return tuple(
        Token("number", token.text, width[token.text]) if token.has_axis and token.text in width else token
        for token in tokens
    )


def _refuse_ambiguous(tokens: tuple[Token, ...], pattern: str) -> None:
    """Refuse braces whose texts nothing tells apart; single characters (``?``) tell nothing."""
    telling = [token for token in tokens if token.kind != "one"]
    for a, b in pairwise(telling):
        plain = a.is_free and b.is_free and "brace" in (a.kind, b.kind)
        if plain or a.kind == b.kind == "number":
            words = [f"{{{token.text}}}" if token.has_axis else token.text for token in (a, b)]
            hint = "" if a.kind == "number" else f", or {{{(a if a.has_axis else b).text}:d}} for a number"
            raise OptionError(
                f"{_shown(pattern)}: nothing tells where {words[0]} ends and {words[1]} begins; "
                f"put text between them{hint}"
            )


def _regex(tokens: Iterable[Token]) -> str:
    """Return a regular expression that needs no backtracking over what it has matched.

    Between two free tokens, the length of everything is fixed by where it starts. What follows a free token
    is therefore best matched where it is first found: the next free token takes up the slack. An atomic
    group for each makes the time linear in the name, however many stars there are. A brace whose text comes
    again later is the exception: a longer text may be the one that is repeated.
    """
    tokens = list(tokens)
    axes = [token.text for token in tokens if token.has_axis]
    out: list[str] = []
    seen: set[str] = set()
    is_open = False
    for at, token in enumerate(tokens):
        after_free = at > 0 and tokens[at - 1].is_free
        first = token.has_axis and token.text not in seen
        if token.kind == "any" or (token.kind == "brace" and first):
            out.append(")" if is_open else "")
            out.append("(?:" if token.kind == "brace" and axes.count(token.text) > 1 else "(?>")
            is_open = True
        if token.kind == "text":
            out.append(re.escape(token.text))
        elif token.kind == "one":
            out.append("[^/]")
        elif token.kind == "any":
            out.append("[^/]*?")
        elif not first:
            out.append(f"(?P={token.text})")
        elif token.kind == "number":
            digit_next = at + 1 < len(tokens) and _DIGITS.match(tokens[at + 1].text)
            run = f"[0-9]{{{token.width},}}" + ("" if digit_next else "+")
            out.append(("(?<![0-9])" if after_free else "") + f"(?P<{token.text}>{run})")
        else:
            out.append(f"(?P<{token.text}>[^/]+?)")
        seen |= {token.text} if token.has_axis else set()
    return "".join(out) + r"\Z" + (")" if is_open else "")


def natural(names: Iterable[str]) -> list[str]:
    """Sort names so that the numbers in them count: ``t9`` comes before ``t10``.

    Examples
    --------
    >>> natural(["t10", "t9", "t010", "T1"])
    ['T1', 't9', 't010', 't10']
    """
    return sorted(sorted(names), key=lambda name: _DIGITS.sub(_countable, name))


def _countable(match: re.Match[str]) -> str:
    # Longer numbers are larger: with the length in front, texts compare as numbers do, of any length.
    digits = match[0].lstrip("0")
    return f"0{chr(48 + min(len(digits), 10**6))}{digits}"


def candidates(pattern: Pattern) -> list[str]:
    """List the files on disk that match, in natural order.

    Only folders that match their part of the pattern are looked into, as deep as the pattern goes. Links are
    followed. What starts with a dot is left out, unless the pattern has the dot.

    Raises
    ------
    ReadError
        A folder cannot be listed.
    """
    *folders, last = _components(pattern.tokens)
    found = [""]
    if pattern.text.startswith("/"):
        folders, found = folders[1:], ["/"]
    for component in folders:
        found = [f"{path}/" for prefix in found for path in _entries(prefix, component, folder=True)]
    names = [path for prefix in found for path in _entries(prefix, last, folder=False)]
    return natural(name for name in names if pattern.regex.fullmatch(name))


def _components(tokens: Iterable[Token]) -> list[list[Token]]:
    """Cut a pattern at its slashes."""
    out: list[list[Token]] = [[]]
    for token in tokens:
        if token.kind != "text":
            out[-1].append(token)
            continue
        for n, text in enumerate(token.text.split("/")):
            if n:
                out.append([])
            if text:
                out[-1].append(Token("text", text))
    return out


def _entries(prefix: str, component: list[Token], *, folder: bool) -> list[str]:
    """List the folders or files that match one part of a pattern."""
    try:
        if all(token.kind == "text" for token in component):
            path = prefix + "".join(token.text for token in component)
            return [path] if (Path(path).is_dir() if folder else Path(path).is_file()) else []
        match = re.compile(_regex(component)).fullmatch
        hidden = component[0].kind == "text" and component[0].text.startswith(".")
        with os.scandir(prefix or ".") as entries:
            return [
                prefix + entry.name
                for entry in entries
                if (hidden or not entry.name.startswith("."))
                and match(entry.name)
                and _is_kind(entry, folder=folder)
            ]
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL, which no name holds
        return []
    except OSError as error:
        raise ReadError(
            f"{_shown(prefix or '.')}: cannot be listed: {error.strerror}; check the folder's permissions"
        ) from error


def _is_kind(entry: os.DirEntry[str], *, folder: bool) -> bool:
    try:
        return entry.is_dir() if folder else entry.is_file()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself leads nowhere
            return False
        raise


def arrange(names: Sequence[str], pattern: Pattern | None = None) -> Arrangement:
    """Find the place of every file.

    Parameters
    ----------
    names
        Paths; one given twice counts once.
    pattern
        What the names look like; None to guess it.

    Raises
    ------
    ReadError
        There is no name, or none matches.
    OptionError
        Two files have one place, the names make a grid that is almost empty, or cannot be understood.
    """
    files = natural(dict.fromkeys(names))
    if pattern is None:
        return _arrange(files, _guess([_plain(name) for name in files]))
    return _arrange(files, pattern)


def _arrange(names: Sequence[str], pattern: Pattern) -> Arrangement:
    import numpy as np  # who only asks whether a path is a pattern does not wait for it

    matched = [(name, match) for name in names if (match := pattern.match(name))]
    if not matched:
        looked = f"{len(names)} looked at, e.g. {_shown(names[0])}; " if names else ""
        raise ReadError(f"{_shown(pattern.text)}: no file matches; {looked}check the folder and the pattern")
    files = tuple(name for name, _ in matched)
    places = {axis: _places([match[axis] for _, match in matched], axis) for axis in pattern.axes}
    shape = tuple(len(places[axis].labels) if axis in places else 1 for axis in AXES)
    if prod(shape) > max(SMALL_GRID, SPARSEST * len(files)):
        sizes = " x ".join(f"{len(places[axis].labels)} {axis}" for axis in pattern.axes)
        raise OptionError(
            f"{_shown(pattern.text)}: {len(files)} files for {sizes} = {prod(shape)} places, e.g. "
            f"{_shown(files[0])}; give a pattern whose braces hold what counts t, c and z"
        )
    flat = np.zeros(len(files), np.int64)
    for axis, size in zip(AXES, shape, strict=True):
        flat *= size
        if axis in places:
            position = places[axis].position
            flat += np.fromiter((position[match[axis]] for _, match in matched), np.int64, len(files))
    index = np.full(shape, -1, np.int32)
    numbers = np.arange(len(files), dtype=np.int32)
    index.reshape(-1)[flat] = numbers
    if (clash := np.flatnonzero(index.reshape(-1)[flat] != numbers)).size:
        one, other = int(clash[0]), int(index.reshape(-1)[flat[clash[0]]])
        where = " ".join(f"{axis}={_shown(matched[one][1][axis])}" for axis in pattern.axes)
        raise OptionError(
            f"{_shown(files[one])} and {_shown(files[other])} are both {where or 'the only place'}; "
            "give a pattern, or files, with one file for each place"
        )
    index.flags.writeable = False
    return Arrangement(
        axes=pattern.axes,
        files=files,
        index=index,
        labels={axis: places[axis].labels for axis in pattern.axes},
        pattern=pattern.text,
        unmatched=len(names) - len(files),
        numbers={axis: n for axis in pattern.axes if (n := places[axis].number) is not None},
    )


class _Places(NamedTuple):
    """Where the texts of one axis are: text to position, text of each position, (first, step)."""

    position: dict[str, int]
    labels: tuple[str, ...]
    number: tuple[int, int] | None


def _places(texts: Iterable[str], axis: str) -> _Places:
    """Give the texts of an axis their positions.

    Numbers come in the order of their values, ``1`` and ``001`` being one; anything else in natural order.
    Whole numbers of t and z count in the step that all of them have in common, and a number that is left out
    has a position without a file, so that a lost time point is seen. Where more than half of them would be
    left out, and for c, only values that are there have a position.
    """
    distinct = natural(set(texts))
    if not all(map(_NUMBER.fullmatch, distinct)):
        return _Places({text: n for n, text in enumerate(distinct)}, tuple(distinct), None)
    value = {text: Decimal(text) for text in distinct}
    label: dict[Decimal, str] = {}
    for text in distinct:
        label.setdefault(value[text], text)
    values = sorted(label)
    # Beyond 18 digits a number is a date or a hash; int() would refuse, and nothing counts that far.
    if axis != "c" and all(text.isdigit() and len(text) <= 18 for text in distinct):
        whole = [int(v) for v in values]
        step = reduce(gcd, (b - a for a, b in pairwise(whole)), 0) or 1
        count = (whole[-1] - whole[0]) // step + 1
        if count <= 2 * len(whole):
            width = min(map(len, distinct))
            every = range(whole[0], whole[0] + count * step, step)
            labels = tuple(label.get(Decimal(n)) or str(n).zfill(width) for n in every)
            position = {text: (int(text) - whole[0]) // step for text in distinct}
            return _Places(position, labels, (whole[0], step))
    order = {v: n for n, v in enumerate(values)}
    return _Places({text: order[v] for text, v in value.items()}, tuple(label[v] for v in values), None)


def gaps_in_words(arrangement: Arrangement) -> str:
    """Name the places without a file by the texts in their braces; an axis that is not named is meant whole.

    Examples
    --------
    >>> gaps_in_words(arrange([f"t{t}_z{z}.tif" for t in range(4) for z in range(5) if t != 2 or z < 2]))
    't=2 z=2-4'
    """
    gaps = _gaps(arrangement)
    named = list(islice(gaps, MAX_NAMED))
    more = int((arrangement.index < 0).sum()) - sum(count for _, count in named)
    return "; ".join(words for words, _ in named) + (f"; and {more} more" if more else "")


def _gaps(arrangement: Arrangement) -> Iterator[tuple[str, int]]:
    """Yield boxes of missing files in words, and how many files each is."""
    missing = arrangement.index < 0
    if not missing.any():
        return
    n_t, n_c, n_z = missing.shape
    rows = missing.reshape(n_t, -1)

    def words(*spans: tuple[str, int, int, int]) -> str:
        named = [
            f"{axis}={arrangement.labels[axis][a]}" + (f"-{arrangement.labels[axis][b]}" if b > a else "")
            for axis, a, b, size in spans
            if axis in arrangement.axes and b - a + 1 < size
        ]
        return " ".join(named)

    t = 0
    while t < n_t:
        stop = t + 1
        while stop < n_t and (rows[stop] == rows[t]).all():
            stop += 1
        here = missing[t]
        if here.any():
            alike = bool((here == here[0]).all())
            for c in range(1 if alike else n_c):
                last = n_c - 1 if alike else c
                for gap, run in groupby(range(n_z), here[c].__getitem__):
                    if gap:
                        zs = list(run)
                        spans = (("t", t, stop - 1, n_t), ("c", c, last, n_c), ("z", zs[0], zs[-1], n_z))
                        yield words(*spans), prod(b - a + 1 for _, a, b, _ in spans)
        t = stop


def channel_names(arrangement: Arrangement) -> tuple[str | None, ...]:
    """Return the name of each channel where its label is more than a number.

    Where every label starts with its own rank, as in MetaMorph's ``w1DAPI``, ``w2GFP``, the rank is left out.

    Examples
    --------
    >>> channel_names(arrange(["a_w1DAPI.TIF", "a_w2GFP.TIF"]))
    ('DAPI', 'GFP')
    >>> channel_names(arrange(["a_c0.tif", "a_c1.tif"]))
    (None, None)
    """
    labels = arrangement.labels.get("c")
    if labels is None:
        return (None,)
    if len(labels) > 1:
        ranked = [_RANKED.fullmatch(label) for label in labels]
        for first in (0, 1):
            bare: list[str] = [m[2] for n, m in enumerate(ranked, first) if m is not None and int(m[1]) == n]
            if len(bare) == len(labels):
                return tuple(bare)
    return tuple(None if _NUMBER.fullmatch(label) else label for label in labels)


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """What stands at one place in all names.

    Attributes
    ----------
    texts
        One a file; just one if it is the same in all files.
    kind
        ``text`` (the same in all), ``number`` or ``name``.
    axis
        ``t``, ``c``, ``z``, ``position``, or empty if nothing tells.
    word
        The text before it.
    """

    texts: Sequence[str]
    kind: str
    axis: str = ""
    word: str = ""


def _guess(files: Sequence[str]) -> Pattern:
    """Guess the pattern of names in natural order; the rules are those at the top of the module."""
    if not files:
        raise ReadError("no file is given; give the files of one image, their folder, or a pattern")
    folder = _common_folder(files)
    tails = [name[len(folder) :] for name in files]
    pieces = _pieces(tails, files)
    _refuse_positions(pieces, files)
    _refuse_unlikely(pieces, tails, files)
    axis_of = _axes(pieces, files)
    text = _escape(folder) + _pattern_text(pieces, axis_of)
    try:
        pattern = _read(text)
    except OptionError:
        raise _refusal(files, "nothing separates the parts of the names that differ") from None
    matches = [pattern.match(name) for name in files]
    for piece, axis in axis_of.items():
        if [match and match[axis] for match in matches] != list(piece.texts):
            raise _refusal(files, f"{_shown(pattern.text)} was guessed, but can be read in more than one way")
    return pattern


def _common_folder(files: Sequence[str]) -> str:
    """Return the folder that all files are below, with its slash."""
    shared = _shared_start(files)
    return shared[: shared.rfind("/") + 1]


def _shared_start(texts: Sequence[str]) -> str:
    """Return what texts have in common at their start."""
    low, high = min(texts), max(texts)  # what the outermost two share, all between them do
    return low[: next((n for n, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))]


def _refusal(files: Sequence[str], what: str, hint: str = "img_t{t}_c{c}_z{z}.tif") -> OptionError:
    found = f"{len(files)} files, e.g. {_shown(files[0])}"
    return OptionError(f"{found}: {what}; give a pattern such as '{_shown(hint, 1000)}'")


def _pieces(tails: Sequence[str], files: Sequence[str]) -> list[_Piece]:
    """Cut names into pieces that are at the same place in all of them."""
    for separator in _SEPARATORS:
        rows = [separator.split(tail) for tail in tails]
        if len({len(row) for row in rows}) > 1:
            continue
        columns = list(zip(*rows, strict=True))
        if all(len(set(column)) == 1 for column in columns[1::2]):
            break
    else:
        first = next(n for n, row in enumerate(rows) if row[1::2] != rows[0][1::2])
        raise _refusal(
            files, f"{_shown(tails[0])} and {_shown(tails[first])} differ in more than numbers and a name"
        )
    pieces: list[_Piece] = []
    before = ""
    for n, column in enumerate(columns):
        if n % 2:
            pieces.append(_Piece(column[:1], "text"))
        elif len(set(column)) == 1:
            pieces.append(_Piece(column[:1], "text"))
            before = column[0] if column[0].isalpha() else ""
        else:
            pieces += _field(column, before, files)
            before = ""
    return [piece for piece in pieces if piece.kind != "text" or piece.texts[0]]


def _field(texts: Sequence[str], before: str, files: Sequence[str]) -> list[_Piece]:
    """Cut what stands between two separators, and differs, into pieces.

    Parameters
    ----------
    texts
        One a file.
    before
        The word before the separator.
    files
        For errors.
    """
    cut = {text: _DIGITS.split(text) for text in set(texts)}  # few of them, even where files are many
    rows = [cut[text] for text in texts]
    alike = len({len(row) for row in rows}) == 1
    columns = list(zip(*rows, strict=True)) if alike else []
    words, numbers = columns[::2], columns[1::2]
    # Zero-padded, else A1 to P24 would also be any letter with a number.
    if all(map(_WELL.fullmatch, set(texts))) and (len(set(words[0])) > 1 or not _axis_of(words[0][0])):
        return [_Piece(texts, "number", "position", "well ")]
    if not alike or (any(len(set(column)) > 1 for column in words) and _tell(words, numbers)):
        return _name(texts, files)
    pieces: list[_Piece] = []
    for n, column in enumerate(columns):
        differs = len(set(column)) > 1
        if n % 2 == 0:
            pieces += _name(column, files) if differs else [_Piece(column[:1], "text")]
        elif not differs:
            pieces.append(_Piece(column[:1], "text"))
        else:
            word = columns[n - 1][0] if len(set(columns[n - 1])) == 1 else pieces[-1].texts[0]
            dye = next((dye for dye in DYES if word.casefold() == dye), None)
            if dye:  # the number alone would lose the name
                pieces[-1] = _Piece([word + number for number in column], "name", "c")
                continue
            word = word or (before if n == 1 else "")
            pieces.append(_Piece(column, "number", _axis_of(word), word))
    return pieces


def _name(texts: Sequence[str], files: Sequence[str]) -> list[_Piece]:
    """Return a name as pieces: a word for channel before it, the name, the word of a number after it."""
    distinct = sorted(set(texts))
    if all(map(_NUMBER.fullmatch, distinct)):
        raise _refusal(files, f"{_shown(distinct[0])} may be one number or two")
    if len(distinct) > MAX_NAMES:
        raise _refusal(files, f"{len(distinct)} different names are too many for channels")
    for text in distinct:
        words = _DIGITS.split(text)[:-1:2]
        counted = next((axis for axis in map(_axis_of, words) if axis not in ("", "c")), None)
        if counted:
            raise _refusal(files, f"{_shown(text)} is a name with a number for {counted} in it")
    start = next((word for word in WORDS["c"] if _all_go_on(distinct, len(word), word)), "")
    end = _shared_word(distinct, len(start))
    middle = [text[len(start) : len(text) - len(end)] for text in texts]
    before, after = _Piece([distinct[0][: len(start)]], "text"), _Piece([end], "text")
    return [before, _Piece(middle, "name", "c", start), after]


def _all_go_on(texts: Sequence[str], size: int, word: str) -> bool:
    """Whether texts all begin with a word in one spelling, which ends there: ``w1DAPI``, ``chGFP``."""
    return all(
        text[:size].casefold() == word
        and text[:size] == texts[0][:size]
        and (
            text[size : size + 1].isdigit() or (text[size : size + 1].isupper() and not text[:size].isupper())
        )
        for text in texts
    )


def _shared_word(texts: Sequence[str], start: int) -> str:
    """Return the word of a number that all texts end with in lower case, as in ``DAPIz``; else nothing."""
    shared = _shared_start([text[:start:-1][:LONGEST_WORD] for text in texts])[::-1]
    for word in (shared[n:] for n in range(len(shared))):
        if word.islower() and _axis_of(word):
            return word if not any(text[-len(word) - 1].islower() for text in texts) else ""
    return ""


def _axis_of(text: str) -> str:
    """Return what a number after a text counts: an axis, ``position``, or nothing.

    The word may be all letters before the number, or begin within them: ``scanT``, ``myChannel``, ``DAPIz``.
    """
    letters = re.search(r"[^\W\d_]*\Z", text[-LONGEST_WORD:])
    word = letters[0] if letters else ""
    parts = (re.search(rule, word) for rule in (r"[A-Z]?[a-z]+\Z|[A-Z]+\Z", r"(?<=[A-Z][A-Z])[a-z]+\Z"))
    spelled = [word, *(part[0] for part in parts if part)]
    return next((_AXIS_OF_WORD[s.casefold()] for s in spelled if s.casefold() in _AXIS_OF_WORD), "")


def _tell(some: Iterable[Sequence[str]], others: Iterable[Sequence[str]]) -> bool:
    """Whether some columns tell what is in each of the others."""
    rows = list(zip(*some, strict=True))
    number = {row: n for n, row in enumerate(set(rows))}  # long rows are compared once, not once a column
    numbers = [number[row] for row in rows]
    return all(len(set(zip(numbers, column, strict=True))) == len(number) for column in others)


def _count(columns: Iterable[Sequence[str]]) -> int:
    """Return how many different rows columns have."""
    return len(set(zip(*columns, strict=True)))


def _refuse_positions(pieces: Sequence[_Piece], files: Sequence[str]) -> None:
    for piece in pieces:
        if piece.axis != "position":
            continue
        values = natural(set(piece.texts))
        fixed = [name for name, text in zip(files, piece.texts, strict=True) if text == values[0]]
        try:
            hint = _guess(fixed).text
        except OptionError:
            hint = _escape(fixed[0])
        what = " and ".join(_shown(f"{piece.word}{value}") for value in values[:2])
        raise _refusal(files, f"{what} look like positions, wells or views, of which an image has one", hint)


def _refuse_unlikely(pieces: Sequence[_Piece], tails: Sequence[str], files: Sequence[str]) -> None:
    """Refuse names that are all there is, and numbers that may be the halves of one."""
    for n, piece in enumerate(pieces):
        half = piece.kind == "number" and n + 2 < len(pieces) and pieces[n + 2].kind == "number"
        if half and pieces[n + 1].texts[0] == ".":
            number = f"{piece.texts[0]}.{pieces[n + 2].texts[0]}"
            raise _refusal(files, f"{_shown(number)} may be one number or two")
    if any(piece.kind == "name" for piece in pieces) and not any(piece.kind == "number" for piece in pieces):
        shared = "".join(piece.texts[0] for piece in pieces if piece.kind == "text")
        if not re.search(r"[^\W_]", re.sub(r"(?:\.ome)?\.[A-Za-z0-9]+\Z", "", shared)):
            raise _refusal(
                files,
                f"{_shown(tails[0])} and {_shown(tails[-1])} have no part in common",
                f"{{c}}{Path(tails[0]).suffix}",
            )


def _axes(pieces: Sequence[_Piece], files: Sequence[str]) -> dict[_Piece, str]:
    """Choose the pieces that are axes, and which."""
    left = [piece for piece in pieces if piece.kind != "text"]
    left = _without_doubles(left)
    left = _without_idle(left, len(files))
    axis_of = {piece: piece.axis for piece in left if piece.axis}
    for axis in AXES:
        same = [piece for piece in left if piece.axis == axis]
        if len(same) > 1:
            texts = " and ".join(_shown(piece.word + piece.texts[0]) for piece in same)
            raise _refusal(files, f"{texts} are both {axis} by their words, and differ independently")
    free = [axis for axis in "ztc" if axis not in axis_of.values()]
    unlabelled = [piece for piece in reversed(left) if not piece.axis]
    if len(unlabelled) > len(free):
        texts = ", ".join(_shown(piece.word + piece.texts[0]) for piece in left)
        raise _refusal(files, f"{len(left)} parts differ independently ({texts}), and t, c and z are three")
    return axis_of | dict(zip(unlabelled, free, strict=False))


def _without_doubles(left: list[_Piece]) -> list[_Piece]:
    """Leave out pieces that go 1:1 with another one that tells more; two axes by their words stay."""

    def lesser(a: _Piece, b: _Piece) -> _Piece | None:
        if a.axis == b.axis:
            # Of names and numbers of one axis the name stays, of two numbers without a word the last.
            return a if not a.axis or (b.kind == "name" and a.kind != "name") else b
        if not a.axis or not b.axis:
            return b if a.axis else a
        return next((piece for piece in (a, b) if piece.kind == "name"), None)

    groups = {piece: _grouping(piece.texts) for piece in left}
    out = list(left)
    for a, b in combinations(left, 2):
        if a in out and b in out and groups[a] == groups[b]:
            drop = lesser(a, b)
            out = [piece for piece in out if piece is not drop]
    return out


def _grouping(texts: Sequence[str]) -> tuple[int, ...]:
    """Return texts as numbers in the order they come: the same for two sequences that go 1:1."""
    seen: dict[str, int] = {}
    return tuple(seen.setdefault(text, len(seen)) for text in texts)


def _without_idle(left: list[_Piece], n_files: int) -> list[_Piece]:
    """Leave out numbers without a word that the others make superfluous: dates, times, running numbers."""
    labelled = [piece for piece in left if piece.axis]
    if labelled and _count([piece.texts for piece in labelled]) == n_files:
        return labelled
    for piece in left:
        others = [other for other in left if other is not piece]
        idle = not piece.axis and len(set(piece.texts)) == n_files
        if idle and others and _count([other.texts for other in others]) == n_files:
            left = others
    return left


def _pattern_text(pieces: Sequence[_Piece], axis_of: Mapping[_Piece, str]) -> str:
    """Return the pattern of pieces; a piece that differs but is no axis becomes a star."""
    out = ""
    for n, piece in enumerate(pieces):
        twins = (axis for other, axis in axis_of.items() if other.texts == piece.texts)
        axis = axis_of.get(piece) or next(twins, None)
        beside = pieces[max(n - 1, 0) : n + 2]
        if piece.kind == "text":
            out += _escape(piece.texts[0])
        elif axis is None:
            out += "*"
        elif piece.kind == "number" and sum(other.kind != "text" for other in beside) > 1:
            out += f"{{{axis}:d}}"  # a plain brace may not stand beside a star or another brace
        else:
            out += f"{{{axis}}}"
    return out


def _escape(text: str) -> str:
    """Return text as a pattern that matches it; wildcards in it become a ``?``, which matches them too."""
    return re.sub(r"[*?]", "?", text.replace("{", "{{").replace("}", "}}"))


def _shown(text: str, longest: int = 160) -> str:
    """Return text for a message of one line: no control characters, not endless."""
    if len(text) > longest:
        text = f"{text[: longest // 2]}...{text[-(longest // 4) :]}"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
