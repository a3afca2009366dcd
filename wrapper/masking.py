"""Secrets out of what is recorded. A masked value keeps a short salted hash: equal secrets can be told equal."""

from __future__ import annotations

from hookrun.runtime.jsonio import read_bytes
from hookrun.wrapper.digest import sha256_hex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hookrun.wrapper.settings import Settings

_HOOK_STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


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
    """The masking of one host's settings."""

    __slots__ = ("_names", "_salt", "_values")

    def __init__(self, settings: Settings) -> None:
        self._names = [_Pattern(pattern.upper()) for pattern in settings.masked_names]
        self._values = [_Pattern(pattern) for pattern in settings.masked_values]
        self._salt = settings.salt

    def value(self, name: str, value: str) -> str:
        """A value, masked if its name or the value itself looks secret."""
        return self._hidden(value) if value and (self._is_name(name) or self._is_value(value)) else value

    def assignment(self, text: str) -> str:
        """`NAME=VALUE` with the value masked where need be."""
        name, equals, value = text.partition("=")
        return f"{name}={self.value(name, value)}" if equals else self.value("", text)

    def words(self, words: list[str]) -> list[str]:
        """The words of a command line: `--token=X`, `--token X`, `TOKEN=X`, and words that look secret themselves."""
        masked = []
        name = ""
        for word in words:
            is_option = word.startswith("-")
            masked.append(self.assignment(word) if is_option or "=" in word else self.value(name, word))
            name = word if is_option and "=" not in word else ""
        return masked

    def config(self, config: dict[str, Any]) -> dict[str, Any]:
        """A config.json for keeping: environment, arguments, annotations, hooks; what needs no mask is shared."""
        masked = dict(config)
        if isinstance(config.get("process"), dict):
            masked["process"] = self.process(config["process"])
        if isinstance(config.get("annotations"), dict):
            masked["annotations"] = {
                name: self.value(name, value) if isinstance(value, str) else value
                for name, value in config["annotations"].items()
            }
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

    def _hooks(self, hooks: Any) -> Any:
        if not isinstance(hooks, list):
            return hooks
        return [self.process(hook) if isinstance(hook, dict) else hook for hook in hooks]

    def _is_name(self, name: str) -> bool:
        upper = name.upper()
        return any(pattern.fits(upper) for pattern in self._names)

    def _is_value(self, value: str) -> bool:
        return any(pattern.fits(value) for pattern in self._values)

    def _hidden(self, value: str) -> str:
        self._salt = self._salt or _boot_id()
        return f"***{sha256_hex((self._salt + value).encode('utf-8', 'surrogateescape'))[:6]}"


class _Pattern:
    """A pattern made ready: most are `*WORD*`, which `in` answers at C's speed."""

    __slots__ = ("_pattern", "_word")

    def __init__(self, pattern: str) -> None:
        inner = pattern[1:-1]
        simple = len(pattern) > 2 and pattern[0] == pattern[-1] == "*" and "*" not in inner and "?" not in inner
        self._word = inner if simple else ""
        self._pattern = pattern

    def fits(self, text: str) -> bool:
        return self._word in text if self._word else fits(text, self._pattern)


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _boot_id() -> str:
    """The salt of a host without settings: equal secrets then look equal until it boots again."""
    try:
        return read_bytes("/proc/sys/kernel/random/boot_id").decode()
    except OSError:
        return "hookrun"
