"""The pattern that file names follow, guessed from the names alone.

1. The folder that all files share is set aside; the rest is cut at separators (whatever is no letter and no
   digit; where that does not give the same pieces for all, at underscores and slashes only).
2. What differs from file to file is a number, or a name: text such as ``Cy3`` or ``DAPI``. A name is c.
3. A number belongs to the axis that the word before it says (`WORDS`); a word that says stage position, well
   or view is refused, because those are images of their own.
4. A number without such a word is no axis if it goes 1:1 with another one, if the named axes already tell all
   files apart, or if it differs in every file while the others tell them apart. The rest get the free axes,
   from the last number to the first: z, then t, then c.
5. Whatever stays ambiguous is refused, and a pattern asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from ngff_convert.errors import OptionError, ReadError
from ngff_convert.readers.file_patterns import AXES, DIGITS, NUMBER, escape, natural, parse, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ngff_convert.readers.file_patterns import Pattern

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
MAX_NAMES = 64
"""Different names that are believed to be channels."""

LONGEST_WORD = 32
"""Letters before a number that are looked at; names may be long, and words are not."""

_AXIS_OF_WORD = {word: axis for axis, words in WORDS.items() for word in words}

WELL = "well "
"""The word of a piece that is a well by its form."""

_WELL = re.compile(r"[A-P](?:0[1-9]|1[0-9]|2[0-4])")
_SEPARATORS = (
    re.compile(r"([\W_]+)"),
    re.compile(r"([_/]+|\.(?=(?:ome\.)?[A-Za-z][A-Za-z0-9]*\Z))"),
)


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


def guess(files: Sequence[str]) -> Pattern:
    """Guess the pattern of names in natural order; the rules are those at the top of the module.

    Raises
    ------
    ReadError
        There is no name.
    OptionError
        The names are ambiguous, or of several images.
    """
    if not files:
        raise ReadError("no file is given; give the files of one image, their folder, or a pattern")
    folder = _common_folder(files)
    tails = [name[len(folder) :] for name in files]
    pieces = _pieces(tails, files)
    _refuse_positions(pieces, files)
    _refuse_unlikely(pieces, tails, files)
    axis_of = _axes(pieces, files)
    text = escape(folder) + _pattern_text(pieces, axis_of)
    try:
        pattern = parse(text, needs_axis=False)
    except OptionError:
        raise _refusal(files, "nothing separates the parts of the names that differ") from None
    matches = [pattern.match(name) for name in files]
    for piece, axis in axis_of.items():
        if [match and match[axis] for match in matches] != list(piece.texts):
            raise _refusal(files, f"{shown(pattern.text)} was guessed, but can be read in more than one way")
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
    found = f"{len(files)} files, e.g. {shown(files[0])}"
    return OptionError(f"{found}: {what}; give a pattern such as '{shown(hint, 1000)}'")


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
            files, f"{shown(tails[0])} and {shown(tails[first])} differ in more than numbers and a name"
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
    cut = {text: DIGITS.split(text) for text in set(texts)}  # few of them, even where files are many
    rows = [cut[text] for text in texts]
    alike = len({len(row) for row in rows}) == 1
    columns = list(zip(*rows, strict=True)) if alike else []
    words, numbers = columns[::2], columns[1::2]
    # Zero-padded, else A1 to P24 would also be any letter with a number.
    if all(map(_WELL.fullmatch, set(texts))) and (len(set(words[0])) > 1 or not _axis_of(words[0][0])):
        return [_Piece(texts, "number", "position", WELL)]
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
    if all(map(NUMBER.fullmatch, distinct)):
        raise _refusal(files, f"{shown(distinct[0])} may be one number or two")
    if len(distinct) > MAX_NAMES:
        raise _refusal(files, f"{len(distinct)} different names are too many for channels")
    for text in distinct:
        words = DIGITS.split(text)[:-1:2]
        counted = next((axis for axis in map(_axis_of, words) if axis not in ("", "c")), None)
        if counted:
            raise _refusal(files, f"{shown(text)} is a name with a number for {counted} in it")
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
            hint = guess(fixed).text
        except OptionError:
            hint = escape(fixed[0])
        hint = _plate_hint(pieces, _common_folder(files)) or hint
        what = " and ".join(shown(f"{piece.word}{value}") for value in values[:2])
        raise _refusal(files, f"{what} look like positions, wells or views, of which an image has one", hint)


def _plate_hint(pieces: Sequence[_Piece], folder: str) -> str:
    """Return the pattern of a plate that pieces may be; empty where none of them is a well."""
    if sum(piece.word == WELL for piece in pieces) != 1:
        return ""
    fields = [piece for piece in pieces if piece.axis == "position" and piece.word != WELL]
    said = {piece: f"{{{piece.axis}}}" for piece in pieces if piece.axis and piece.axis != "position"}
    said |= {piece: "{well}" for piece in pieces if piece.word == WELL}
    said |= dict.fromkeys(fields[:1], "{field}")
    hint = "".join(said.get(p) or (escape(p.texts[0]) if p.kind == "text" else "*") for p in pieces)
    try:
        return parse(escape(folder) + hint).text
    except OptionError:  # such as two of one axis side by side
        return ""


def _refuse_unlikely(pieces: Sequence[_Piece], tails: Sequence[str], files: Sequence[str]) -> None:
    """Refuse names that are all there is, and numbers that may be the halves of one."""
    for n, piece in enumerate(pieces):
        half = piece.kind == "number" and n + 2 < len(pieces) and pieces[n + 2].kind == "number"
        if half and pieces[n + 1].texts[0] == ".":
            number = f"{piece.texts[0]}.{pieces[n + 2].texts[0]}"
            raise _refusal(files, f"{shown(number)} may be one number or two")
    if any(piece.kind == "name" for piece in pieces) and not any(piece.kind == "number" for piece in pieces):
        shared = "".join(piece.texts[0] for piece in pieces if piece.kind == "text")
        if not re.search(r"[^\W_]", re.sub(r"(?:\.ome)?\.[A-Za-z0-9]+\Z", "", shared)):
            raise _refusal(
                files,
                f"{shown(tails[0])} and {shown(tails[-1])} have no part in common",
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
            texts = " and ".join(shown(piece.word + piece.texts[0]) for piece in same)
            raise _refusal(files, f"{texts} are both {axis} by their words, and differ independently")
    free = [axis for axis in "ztc" if axis not in axis_of.values()]
    unlabelled = [piece for piece in reversed(left) if not piece.axis]
    if len(unlabelled) > len(free):
        texts = ", ".join(shown(piece.word + piece.texts[0]) for piece in left)
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
            out += escape(piece.texts[0])
        elif axis is None:
            out += "*"
        elif piece.kind == "number" and sum(other.kind != "text" for other in beside) > 1:
            out += f"{{{axis}:d}}"  # a plain brace may not stand beside a star or another brace
        else:
            out += f"{{{axis}}}"
    return out
