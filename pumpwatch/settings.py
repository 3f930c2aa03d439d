"""How a setting is declared, checked and read; what the settings are stands in config.py.

A section is a frozen msgspec struct. Each field is written
``name: Annotated[type, Rule, "what it does"] = default``; from that one line come the check, the
error text, the environment variable and the comment that ``init`` writes into the file.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec

from pumpwatch.errors import ConfigError

ENVIRONMENT_PREFIX = "PUMPWATCH_"
RESERVED_VARIABLES = frozenset({"PUMPWATCH_TRACE"})  # setup.py's: C code that can be traced
SHOWN_CHARACTERS_MAX = 80  # of a refused value
SECRET_NAME = re.compile(r"password|secret|token|key|url|auth", re.IGNORECASE)  # unknown keys only

Table = dict[str, Any]


class Rule(msgspec.Struct, frozen=True):
    """What a value may be: in words, and as a test."""

    allowed: str
    accepts: Callable[[Any], bool]
    secret: bool = False  # never shown, not even when refused


class SettingError(ValueError):
    """A refused value: key, value and what is allowed, without the section it stands in."""

    def __init__(self, name: str, value: str, allowed: str) -> None:
        self.name = name
        super().__init__(f"{name} = {value}: {allowed}")


class Key(msgspec.Struct, frozen=True):
    """One field of a section, taken apart."""

    name: str
    kind: Any  # int, float, bool, str, Path, tuple[str, ...], Literal; or a Section
    optional: bool  # None allowed; an empty text means None
    rule: Rule
    doc: str
    default: Any

    @property
    def section(self) -> type[Section] | None:
        """The section that this key opens, None where it is a value."""
        is_section = isinstance(self.kind, type) and issubclass(self.kind, Section)
        return self.kind if is_section else None

    def shown(self, value: object) -> str:
        """The value as an error line may show it: one line, short, no secret."""
        if self.rule.secret and value:
            return "(hidden)"
        return shown(value)

    def refusal(self, value: object) -> SettingError:
        """The error that says what is allowed here."""
        return SettingError(self.name, self.shown(value), f"allowed: {self.rule.allowed}")


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; making one with a value that is not allowed raises SettingError."""

    PREFIX: ClassVar[str] = ""  # "writer.": for errors that name several keys

    def __post_init__(self) -> None:
        for key in keys_of(type(self)):
            value = getattr(self, key.name)
            if value is not None and key.section is None and not key.rule.accepts(value):
                raise key.refusal(value)


SomeSection = TypeVar("SomeSection", bound=Section)


# --- rules ----------------------------------------------------------------------------------------


def span(low: float, high: float, unit: str = "") -> Rule:
    """Numbers from low to high, both included."""
    text = f"{low:,} to {high:,}".replace(",", "_") + (f" {unit}" if unit else "")
    return Rule(text, lambda value: math.isfinite(value) and low <= value <= high)


def one_of(*choices: str) -> Rule:
    """One of some words."""
    return Rule(" or ".join(f'"{choice}"' for choice in choices), lambda value: value in choices)


def pattern(regex: str, allowed: str) -> Rule:
    """A text that matches as a whole."""
    compiled = re.compile(regex)
    return Rule(allowed, lambda value: compiled.fullmatch(value) is not None)


def texts(regex: str, allowed: str, *, at_least: int = 0, secret: bool = False) -> Rule:
    """A list of texts that each match as a whole."""
    compiled = re.compile(regex)

    def accepts(values: tuple[str, ...]) -> bool:
        return len(values) >= at_least and all(compiled.fullmatch(value) for value in values)

    return Rule(allowed, accepts, secret)


def url(*schemes: str, path_only: bool = False) -> Rule:
    """An absolute URL with a host; ``path_only``: a prefix to append to, so no query."""
    allowed = "a URL with " + " or ".join(f"{scheme}://" for scheme in schemes)
    allowed += ", without query: paths are appended to it" * path_only

    def accepts(value: str) -> bool:
        try:
            parts = urlsplit(value)
            port = parts.port  # raises on what is no port
        except ValueError:
            return False
        plain = parts.fragment == "" and parts.username is None and port != 0
        blank = any(character <= " " or character == "\x7f" for character in value)
        plain = plain and not blank and not (path_only and parts.query)
        return plain and parts.scheme in schemes and bool(parts.hostname)

    return Rule(allowed, accepts)


ANY_PATH = pattern(r"[^\x00\r\n]+", "a path, not empty")
TRUTH = Rule("true or false", lambda value: isinstance(value, bool))


# --- declaration -> keys --------------------------------------------------------------------------


@functools.cache
def keys_of(section: type[Section]) -> tuple[Key, ...]:
    """The keys of a section, in the order of declaration."""
    return tuple(_key(field) for field in msgspec.structs.fields(section))


def _key(field: Any) -> Key:
    kind: Any = field.type
    notes: list[Any] = []
    if typing.get_origin(kind) is typing.Annotated:
        kind, *notes = typing.get_args(kind)
    members = typing.get_args(kind)
    optional = type(None) in members
    if optional:
        (kind,) = (member for member in members if member is not type(None))
    rule = next((note for note in notes if isinstance(note, Rule)), None)
    doc = next((note for note in notes if isinstance(note, str)), "")
    if rule is None:
        rule = TRUTH if kind is bool else Rule("a section", lambda _: True)
    default = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    return Key(field.name, kind, optional, rule, doc, default)


# --- values ---------------------------------------------------------------------------------------


def shown(value: object) -> str:
    """A value on one line, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = re.sub(r"://[^/@\s\"]*@", "://(hidden)@", text)  # a password inside a URL
    text = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    return text if len(text) <= SHOWN_CHARACTERS_MAX else text[: SHOWN_CHARACTERS_MAX - 1] + "…"


def _shown_name(name: str) -> str:
    """A key or variable as it is where it could be one, else quoted."""
    return name if re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name) else shown(name)


def convert(key: Key, value: object) -> Any:
    """A value from the file (or already parsed from a text) as the key's type."""
    if key.optional and value == "":
        return None
    kind = str if key.kind is Path else key.kind
    try:
        made = msgspec.convert(value, kind)
    except msgspec.ValidationError:
        raise key.refusal(value) from None
    if key.kind is Path and not made:  # Path("") would be the current folder
        raise key.refusal(value)
    return Path(made) if key.kind is Path else made


def parse_text(key: Key, text: str) -> object:
    """The text of an environment variable as the value that TOML would have given.

    Lists are JSON or comma separated. Text that cannot be meant raises SettingError.
    """
    text = text.strip()
    if key.kind is bool and text.lower() in ("true", "false", "1", "0"):
        return text.lower() in ("true", "1")
    if key.kind is int and re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        return int(text)
    if key.kind is float and re.fullmatch(r"[+-]?[0-9]{1,19}(\.[0-9]{1,19})?", text):
        return float(text)
    if key.kind in (str, Path) or typing.get_origin(key.kind) is Literal:
        return text
    if typing.get_origin(key.kind) is tuple:
        return _parse_list(key, text)
    raise key.refusal(text)


def _parse_list(key: Key, text: str) -> list[object]:
    if not text.startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        values = json.loads(text)
    except ValueError:
        raise key.refusal(text) from None
    assert isinstance(values, list)
    return values


# --- tables -> sections ---------------------------------------------------------------------------


class Source:
    """Where each value came from, for the end of an error line."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.variables: dict[str, str] = {}  # "writer.workers" -> "PUMPWATCH_WRITER__WORKERS"

    def of(self, dotted: str) -> str:
        """The file, or the environment variable that overrides it."""
        variable = self.variables.get(dotted)
        return f"environment {_shown_name(variable)}" if variable else self.file


def unknown_key(dotted: str, value: object, known: Iterable[str], origin: str) -> ConfigError:
    """The error for a key that does not exist: what does, and which of it is nearest."""
    names = list(known)
    near = difflib.get_close_matches(dotted.rpartition(".")[2], names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    told = "(hidden)" if SECRET_NAME.search(dotted) else shown(value)
    allowed = ", ".join(names)
    return ConfigError(
        f"{_shown_name(dotted)} = {told}: unknown key; {hint}allowed: {allowed} ({origin})"
    )


def build(section: type[SomeSection], table: object, prefix: str, source: Source) -> SomeSection:
    """Make a section from a table of the file; ``prefix`` is "" or ends with a dot.

    Raises ConfigError: one line with key, value, what is allowed, and where it stands.
    """
    if not isinstance(table, dict):
        dotted = prefix.rstrip(".")
        raise ConfigError(f"{dotted} = {shown(table)}: allowed: a section ({source.of(dotted)})")
    keys = {key.name: key for key in keys_of(section)}
    values: Table = {}
    for name, value in table.items():
        dotted = prefix + name
        key = keys.get(name)
        if key is None:
            raise unknown_key(dotted, value, keys, source.of(dotted))
        if key.section is not None:
            values[name] = build(key.section, value, f"{dotted}.", source)
            continue
        try:
            values[name] = convert(key, value)
        except SettingError as error:
            raise ConfigError(f"{prefix}{error} ({source.of(dotted)})") from None
    try:
        return section(**values)
    except SettingError as error:
        raise ConfigError(f"{prefix}{error} ({source.of(prefix + error.name)})") from None


# --- environment ----------------------------------------------------------------------------------


def variable_name(dotted: str) -> str:
    """The environment variable that overrides a key: ``PUMPWATCH_WRITER__WORKERS``."""
    return ENVIRONMENT_PREFIX + dotted.upper().replace(".", "__")


def overlay(
    table: Table, environ: Mapping[str, str], keys: Mapping[str, Key], source: Source
) -> None:
    """Write every ``PUMPWATCH_...`` variable over ``table``, in place.

    ``keys`` holds the declaration of every dotted name. Raises ConfigError as ``build`` does.
    """
    for variable in sorted(environ):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in RESERVED_VARIABLES:
            continue
        dotted = variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
        key = keys.get(dotted)
        origin = f"environment {_shown_name(variable)}"
        if key is None or variable != variable_name(dotted):
            raise _unknown_variable(dotted, environ[variable], keys, origin)
        source.variables[dotted] = variable
        section, _, name = dotted.rpartition(".")
        try:
            value = parse_text(key, environ[variable])
        except SettingError as error:
            raise ConfigError(f"{section}{'.' * bool(section)}{error} ({origin})") from None
        place: object = table
        for part in section.split(".") if section else []:
            place = place.setdefault(part, {}) if isinstance(place, dict) else place
        if isinstance(place, dict):  # else the file has a value there, which build() refuses
            place[name] = value


def _unknown_variable(dotted: str, value: str, keys: Mapping[str, Key], origin: str) -> ConfigError:
    """Names what may stand at the first place of the dotted name that leads nowhere."""
    section = ""
    for part in dotted.split("."):
        below = f"{section}{part}."
        if not any(name.startswith(below) for name in keys):
            break
        section = below
    known = {n.removeprefix(section).split(".")[0]: None for n in keys if n.startswith(section)}
    wrong = section + dotted.removeprefix(section).split(".")[0]
    return unknown_key(wrong.rstrip("."), value, known, origin)
