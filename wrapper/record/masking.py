"""Secrets out of what is recorded. A masked value keeps a short salted hash: equal secrets can be told equal."""

from __future__ import annotations

from typing import Any

from hookrun.runtime.linux.files import read_bytes
from hookrun.wrapper.digest import sha256_hex
from hookrun.wrapper.settings import Settings

_BLANKS = "\n\t "
# Shorter ones are not looked for in what people and programs say: they would be found everywhere.
_LEAST_SECRET = 6


def fits(text: str, pattern: str) -> bool:
    """Whether a pattern fits a whole text: `*` is any characters, `?` any one, all else is itself."""
    text_at = pattern_at = 0
    star_at, resume_at = -1, 0
    while text_at < len(text):
        sign = pattern[pattern_at] if pattern_at < len(pattern) else ""
        if sign == "*":
            star_at, resume_at = pattern_at, text_at
            pattern_at += 1
        elif sign and sign in ("?", text[text_at]):
            pattern_at += 1
            text_at += 1
        elif star_at >= 0:
            pattern_at = star_at + 1
            resume_at += 1
            text_at = resume_at
        else:
            return False
    return not pattern[pattern_at:].strip("*")


class Mask:
    """The masking of one host's settings, for one record: `text` knows the secrets that were masked before it."""

    __slots__ = ("_names", "_salt", "_secrets", "_values")

    def __init__(self, settings: Settings) -> None:
        self._names = _Patterns([pattern.upper() for pattern in settings.masked_names])
        self._values = _Patterns(settings.masked_values)
        self._salt = settings.salt
        self._secrets: dict[str, str] = {}

    def value(self, name: str, value: str) -> str:
        """A value, masked if its name or the value itself looks secret, or the parts of it that do."""
        if not value:
            return value
        if (name and self._names.fit(name.upper())) or self._is_secret(value):
            return self._hidden(value)
        for blank in _BLANKS:
            if blank in value:
                return blank.join(self._parts(value.split(blank)))
        return value

    def assignment(self, text: str) -> str:
        """`NAME=VALUE` with the value masked where need be."""
        name, equals, value = text.partition("=")
        if equals and not any(blank in name for blank in _BLANKS):
            return f"{name}={self.value(name, value)}"
        return self.value("", text)

    def words(self, words: list[str]) -> list[str]:
        """The words of a command line: `--token=X`, `--token X`, `TOKEN=X`, and words that look secret themselves."""
        masked = []
        name = ""
        for word in words:
            is_option = word.startswith("-")
            masked.append(self.assignment(word) if is_option or "=" in word else self.value(name, word))
            name = word if (is_option and "=" not in word) or _is_heading(word) else ""
        return masked

    def text(self, text: str) -> str:
        """What somebody said: the secrets that were masked before, and what looks like one."""
        for secret, hidden in self._secrets.items():
            text = text.replace(secret, hidden)
        return self.value("", text)

    def texts(self, value: Any) -> Any:
        """The same for all texts in a JSON value."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.texts(entry) for entry in value]
        return {name: self.texts(entry) for name, entry in value.items()} if isinstance(value, dict) else value

    def config(self, config: dict[str, Any]) -> dict[str, Any]:
        """A config.json for keeping: environment, arguments, annotations, mount options, hooks; the rest is shared."""
        masked = dict(config)
        if isinstance(config.get("process"), dict):
            masked["process"] = self.process(config["process"])
        if isinstance(config.get("annotations"), dict):
            masked["annotations"] = {
                name: self.value(name, value) if isinstance(value, str) else value
                for name, value in config["annotations"].items()
            }
        if isinstance(config.get("mounts"), list):
            masked["mounts"] = [self._mount(mount) for mount in config["mounts"]]
        if isinstance(config.get("hooks"), dict):
            masked["hooks"] = {stage: self._hooks(hooks) for stage, hooks in config["hooks"].items()}
        return masked

    def process(self, process: dict[str, Any]) -> dict[str, Any]:
        """A process object, or a hook, with its environment and arguments masked."""
        masked = dict(process)
        if _are_strings(process.get("env")):
            masked["env"] = [self.assignment(entry) for entry in process["env"]]
        if _are_strings(process.get("args")):
            masked["args"] = self.words(process["args"])
        return masked

    def _mount(self, mount: Any) -> Any:
        """cifs and others take passwords as mount options."""
        if not isinstance(mount, dict) or not _are_strings(mount.get("options")):
            return mount
        return {**mount, "options": [self.assignment(option) for option in mount["options"]]}

    def _hooks(self, hooks: Any) -> Any:
        if not isinstance(hooks, list):
            return hooks
        return [self.process(hook) if isinstance(hook, dict) else hook for hook in hooks]

    def _is_secret(self, value: str) -> bool:
        """By its own looks; JSON in a value is secret where it names one."""
        return self._values.fit(value) or (value[0] in "{[" and self._names.fit(value.upper()))

    def _parts(self, parts: list[str]) -> list[str]:
        """The words of a script; a secret that begins with a quote goes on to the word that ends with it."""
        masked = self.words(parts)
        closing = ""
        for at, part in enumerate(parts):
            if closing:
                masked[at] = self._hidden(part)
                closing = "" if closing in part else closing
            elif masked[at] != part:
                closing = next((quote for quote in "'\"" if part.count(quote) % 2), "")
        return masked

    def _hidden(self, value: str) -> str:
        self._salt = self._salt or _boot_id()
        hidden = f"***{sha256_hex((self._salt + value).encode('utf-8', 'surrogateescape'))[:6]}"
        if len(value) >= _LEAST_SECRET:
            self._secrets[value] = hidden
        return hidden


class _Patterns:
    """Patterns made ready: most are `WORD*`, `*WORD` or `*WORD*`, which C answers, the first two for all at once.

    Of the others, the longest plain part is looked for first.
    """

    __slots__ = ("_ends", "_inner", "_others", "_starts")

    def __init__(self, patterns: list[str]) -> None:
        starts: list[str] = []
        ends: list[str] = []
        self._inner: list[str] = []
        self._others: list[tuple[str, str]] = []
        for pattern in patterns:
            word = pattern.strip("*")
            if not word or "*" in word or "?" in word:
                self._others.append((max(pattern.replace("?", "*").split("*"), key=len), pattern))
            elif pattern == f"{word}*":
                starts.append(word)
            elif pattern == f"*{word}":
                ends.append(word)
            elif pattern == f"*{word}*":
                self._inner.append(word)
            else:
                self._others.append((word, pattern))
        self._starts = tuple(starts)
        self._ends = tuple(ends)

    def fit(self, text: str) -> bool:
        """Whether one of them fits the text."""
        if text.startswith(self._starts) or text.endswith(self._ends):
            return True
        for word in self._inner:
            if word in text:
                return True
        return any(word in text and fits(text, pattern) for word, pattern in self._others)


def _is_heading(word: str) -> bool:
    """`password:`, but not the `/etc/passwd:` of an error."""
    return word.endswith(":") and "/" not in word


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _boot_id() -> str:
    """The salt of a host without settings: equal secrets then look equal until it boots again."""
    try:
        return read_bytes("/proc/sys/kernel/random/boot_id").decode()
    except OSError:
        return "hookrun"
