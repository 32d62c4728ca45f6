"""Patterns of file names: a path with braces, ``run/t{t}/scan_c{c}_z{z}.tif``, and the files that match.

- ``{t}``, ``{c}``, ``{z}`` (or upper case): any text of at least one character without a slash. From left to
  right, each brace and star takes as little as the text after it allows. An axis given twice holds the same
  text twice.
- ``{z:d}``: a whole run of digits; ``{z:03d}``: of at least three. Such a brace may stand right beside
  another wildcard, where a plain one is ambiguous and refused.
- ``{well}`` (``B02``), or ``{row}`` (letters or a number) and ``{col}`` (a number), and with them ``{field}``
  and ``{acquisition}`` (any text, as t): where in a plate; ``{row}{col}`` may stand side by side.
- ``*``: any text without a slash, or none; ``?``: one character; ``{{`` and ``}}``: braces themselves.
  ``scan*_t{t:d}.tif`` finds the number of ``scan_today_t4.tif``; with ``{t}``, t would be ``oday_t4``.
- A pattern that does not start with a slash is held against the end of a path, slash by slash.

Only `candidates` looks at the disk, and no file is opened.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ngff_convert.errors import OptionError, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

AXES = "tcz"

WELL_PARTS = ("well", "row", "column", "field", "acquisition")
"""What else a brace can hold: where in a plate an image was taken."""

DIGITS = re.compile(r"([0-9]+)")
NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?")
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|\*+|\?|[^{}*?]+|[{}]")
_BRACE = re.compile(r"([tcz]|well|row|col(?:umn)?|field|acquisition)(?::(0?[0-9]{0,2})d)?", re.IGNORECASE)
_LETTERS = "[A-Za-z]{1,2}"
_WELL = f"{_LETTERS}[0-9]{{1,3}}"


class Token(NamedTuple):
    """A part of a pattern.

    Attributes
    ----------
    kind
        ``text``, ``any`` (a star), ``one`` (a question mark), ``brace`` (any text), ``number``, ``well``
        (letters and a number), ``row`` (letters or a number) or ``letters``.
    text
        Of braces the axis, or one of `WELL_PARTS`; of others what they stand for.
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
        """Whether it is a brace of any kind."""
        return self.kind not in ("text", "any", "one")


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
    wells
        Those of `WELL_PARTS` that have a brace; where there are any, each image is of a well.
    """

    text: str
    axes: str
    tokens: tuple[Token, ...]
    regex: re.Pattern[str]
    wells: tuple[str, ...] = ()

    def match(self, name: str) -> re.Match[str] | None:
        """Hold the pattern against a path; against its end if the pattern is relative."""
        name = plain(name)
        if not self.text.startswith("/"):
            depth = self.text.count("/") + 1
            name = "/".join(name.rsplit("/", depth)[-depth:])
        return self.regex.fullmatch(name)


def parse(pattern: str, *, needs_axis: bool = True) -> Pattern:
    """Read a pattern; without `needs_axis` also one that is the name of one file.

    Raises
    ------
    OptionError
        It has no brace of an axis or one of something else, an odd brace, or braces that nothing separates.

    Examples
    --------
    >>> parse("scan*_t{t}_{C}.tif").axes
    'tc'
    >>> parse("{row}{col}_f{field}.tif").wells
    ('row', 'column', 'field')
    """
    text = plain(pattern)
    tokens = _alike([_token(match, pattern) for match in _TOKEN.finditer(text)])
    if text.endswith("/"):
        raise OptionError(f"{shown(pattern)}: ends with a slash; give a pattern of files, not of folders")
    _refuse_ambiguous(tokens, pattern)
    braces = {token.text for token in tokens if token.has_axis}
    axes = "".join(axis for axis in AXES if axis in braces)
    wells = tuple(part for part in WELL_PARTS if part in braces)
    if needs_axis and not braces:
        raise OptionError(f"{shown(pattern)}: no {{t}}, {{c}} or {{z}} in it; put one where the names differ")
    if wells and braces & {"well", "row", "column"} not in ({"well"}, {"row", "column"}):
        raise OptionError(
            f"{shown(pattern)}: a well is told by {{well}}, or by {{row}} and {{col}}; give one or the others"
        )
    return Pattern(text, axes, tokens, re.compile(_regex(tokens)), wells)


def plain(path: str) -> str:
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
        raise OptionError(f"{shown(pattern)}: a {text} without its other half; double it to mean itself")
    brace = _BRACE.fullmatch(match[1])
    if brace is None:
        raise OptionError(
            f"{shown(pattern)}: {shown(text)} is not understood; a brace holds t, c or z, of plates well, "
            "row, col, field or acquisition, or {z:d} for a number; {{ and }} mean the characters"
        )
    axis = "column" if brace[1].lower() == "col" else brace[1].lower()
    if axis == "column" or brace[2] is not None:
        return Token("number", axis, int(brace[2] or 1) or 1)
    return Token(axis if axis in ("well", "row") else "brace", axis)


def _alike(tokens: Sequence[Token]) -> tuple[Token, ...]:
    """Make every brace of an axis a number if one of them is; a row beside a number is letters."""
    beside = {
        row.text
        for a, b in pairwise(tokens)
        for row, other in ((a, b), (b, a))
        if (row.kind, other.kind) == ("row", "number")
    }
    tokens = [token._replace(kind="letters") if token.kind == "row" and beside else token for token in tokens]
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
        vague = a.is_free and b.is_free and "brace" in (a.kind, b.kind)
        vague |= a.kind in ("row", "letters") and b.kind == "brace"
        bounded = a.has_axis and b.has_axis and not a.is_free and not b.is_free
        if vague or (bounded and "letters" not in (a.kind, b.kind)):
            words = [f"{{{token.text}}}" if token.has_axis else token.text for token in (a, b)]
            hint = "" if bounded else f", or {{{(a if a.has_axis else b).text}:d}} for a number"
            raise OptionError(
                f"{shown(pattern)}: nothing tells where {words[0]} ends and {words[1]} begins; "
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
        elif token.kind in ("well", "row", "letters"):
            own = {"well": _WELL, "row": f"{_LETTERS}|[0-9]{{1,3}}", "letters": _LETTERS}[token.kind]
            out.append(("(?<![A-Za-z0-9])" if after_free else "") + f"(?P<{token.text}>{own})")
        elif token.kind == "number":
            digit_next = at + 1 < len(tokens) and DIGITS.match(tokens[at + 1].text)
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
    return sorted(sorted(names), key=lambda name: DIGITS.sub(_countable, name))


def _countable(match: re.Match[str]) -> str:
    # Longer numbers are larger: with the length in front, texts compare as numbers do, of any length.
    digits = match[0].lstrip("0")
    return f"0{chr(48 + min(len(digits), 10**6))}{digits}"


def name_of(pattern: Pattern) -> str:
    """Return what an image is called whose files match: what stands before what differs, or the folder.

    Examples
    --------
    >>> [name_of(parse(text)) for text in ("run/scan_t{t}_c{c}.tif", "run 3/*/T{t}/{z}.tif", "a/img{z}.tif")]
    ['scan', 'run 3', 'img']
    """
    start = "".join(token.text for token in takewhile(lambda token: token.kind == "text", pattern.tokens))
    folder, _, stem = start.rpartition("/")
    # A word of one or two letters is that of the number: t, ch.
    stem = re.sub(r"(?<![^\W_])[^\W\d_]{1,2}\Z", "", stem).strip(" _-.")
    return stem or os.path.basename(os.path.abspath(folder or "/" * start.startswith("/")))  # noqa: PTH100, PTH119


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
            f"{shown(prefix or '.')}: cannot be listed: {error.strerror}; check the folder's permissions"
        ) from error


def _is_kind(entry: os.DirEntry[str], *, folder: bool) -> bool:
    try:
        return entry.is_dir() if folder else entry.is_file()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself leads nowhere
            return False
        raise


def escape(text: str) -> str:
    """Return text as a pattern that matches it; wildcards in it become a ``?``, which matches them too."""
    return re.sub(r"[*?]", "?", text.replace("{", "{{").replace("}", "}}"))


def shown(text: str, longest: int = 160) -> str:
    """Return text for a message of one line: no control characters, not endless."""
    if len(text) > longest:
        text = f"{text[: longest // 2]}...{text[-(longest // 4) :]}"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
