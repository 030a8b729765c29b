r"""Unit words: one spelling for every unit, the one that OME-NGFF and pint share.

Files spell a micrometer as "µm", "um", "micron" or the six characters ``\u00B5m``;
napari and OME-NGFF want "micrometer". What is no unit of length or time ("pixel",
"reference frame", nonsense) becomes ``None``, because a viewer refuses unknown words.
"""

from __future__ import annotations

_PREFIXES = {
    "y": "yocto",
    "z": "zepto",
    "a": "atto",
    "f": "femto",
    "p": "pico",
    "n": "nano",
    "u": "micro",
    "m": "milli",
    "c": "centi",
    "d": "deci",
    "": "",
    "h": "hecto",
    "k": "kilo",
    "M": "mega",
    "G": "giga",
    "T": "tera",
    "P": "peta",
    "E": "exa",
    "Z": "zetta",
    "Y": "yotta",
}
_SYMBOLS = {
    f"{symbol}{base[0]}": f"{prefix}{base}"
    for base in ("meter", "second")
    for symbol, prefix in _PREFIXES.items()
} | {"Å": "angstrom", "min": "minute", "h": "hour", "d": "day", "in": "inch"}
_PLAIN = ("angstrom", "foot", "inch", "mile", "yard", "parsec", "minute", "hour", "day")
_WORDS = {word: word for word in (*_SYMBOLS.values(), *_PLAIN)}
_NICKNAMES = {
    "micron": "micrometer",
    "sec": "second",
    "msec": "millisecond",
    "millisec": "millisecond",
    "usec": "microsecond",
    "nsec": "nanosecond",
    "hr": "hour",
    "inches": "inch",
    "feet": "foot",
}
# The micro sign (U+00B5) and the Greek letter (U+03BC) look alike; ImageJ writes the
# escape sequence, and UTF-8 read as Latin-1 puts an "Â" (or "Î") before the sign.
_MICRO = ("\\u00b5", "\\u03bc", "Âµ", "Î¼", "µ", "μ")


def unit_word(text: str | None) -> str | None:
    r"""Spell a unit the way OME-NGFF and pint do.

    Parameters
    ----------
    text : str or None
        A unit as some file writes it: "µm", "um", "micron", "sec", "Micrometers", ...

    Returns
    -------
    str or None
        "micrometer", "second", ...; None where the text is no length or time.

    Examples
    --------
    >>> unit_word("\\u00B5m"), unit_word("sec"), unit_word("pixel")
    ('micrometer', 'second', None)
    """
    if text is None:
        return None
    plain = text.strip().strip("\x00").replace("\\u00B5", "\\u00b5")
    plain = plain.replace("\\u03BC", "\\u03bc").replace("\u212b", "Å")
    for micro in _MICRO:
        plain = plain.replace(micro, "u")
    if plain in _SYMBOLS:
        return _SYMBOLS[plain]
    word = plain.lower().replace("metre", "meter")
    for candidate in (word, word.removesuffix("s")):
        found = _WORDS.get(candidate) or _NICKNAMES.get(candidate)
        if found:
            return found
    return None
