"""Secrets are masked by name and by value; what is not secret stays readable."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from hookrun.wrapper import settings
from hookrun.wrapper.record import masking

SECRET = "swordfish-7731"


def mask(salt: str = "salt") -> masking.Mask:
    values = settings.completed({"mask": {"salt": salt}})
    return masking.Mask(settings.read("", values))


@pytest.mark.parametrize(
    ("text", "pattern", "fit"),
    [
        ("", "", True),
        ("", "*", True),
        ("abc", "abc", True),
        ("abc", "a*c", True),
        ("abc", "*b*", True),
        ("abc", "a?c", True),
        ("abc", "*c*d", False),
        ("abab", "*ab", True),
        ("abc", "ab", False),
        ("ab", "abc", False),
        ("a*c", "a*", True),
        ("aXbXc", "a*X?", True),
        ("aXbXcd", "a*X?", False),
    ],
)
def test_patterns(text: str, pattern: str, fit: bool) -> None:
    assert masking.fits(text, pattern) is fit


@pytest.mark.parametrize(
    "entry",
    [
        f"DB_PASSWORD={SECRET}",
        f"db_password={SECRET}",
        f"AWS_SECRET_ACCESS_KEY={SECRET}",
        f"GITHUB_TOKEN={SECRET}",
        f"API_KEY={SECRET}",
        f"APIKEY={SECRET}",
        f"PRIVATE-KEY={SECRET}",
        f"MYSQL_PWD={SECRET}",
        f"SENTRY_DSN={SECRET}",
        f"URL=postgres://user:{SECRET}@host/db",
        f"X=ghp_{SECRET}",
        f"X=-----BEGIN RSA PRIVATE KEY-----\n{SECRET}",
        f"X=eyJ{SECRET}.eyJx.y",
        f"X=Bearer {SECRET}",
    ],
)
def test_environment(entry: str) -> None:
    masked = mask().assignment(entry)
    assert SECRET not in masked
    assert masked.startswith(entry.partition("=")[0] + "=***")


@pytest.mark.parametrize(
    "words",
    [
        ["tool", f"--password={SECRET}"],
        ["tool", "--password", SECRET, "next"],
        ["tool", "-token", SECRET],
        ["env", f"SECRET={SECRET}", "tool"],
        ["curl", f"https://me:{SECRET}@host/"],
        ["curl", "-H", f"Bearer {SECRET}"],
    ],
)
def test_arguments(words: list[str]) -> None:
    masked = mask().words(words)
    assert SECRET not in " ".join(masked)
    assert len(masked) == len(words)
    assert masked[0] == words[0]


def test_what_is_not_secret_stays() -> None:
    words = ["sh", "-c", "echo PATH=$PATH", "--user", "root", "--url=http://host:80/x", "a=b", "MONKEY=1"]
    assert mask().words(words) == words


def test_a_whole_config() -> None:
    config: dict[str, Any] = {
        "process": {"env": ["PATH=/bin", f"PASSWORD={SECRET}"], "args": ["x", f"--api-key={SECRET}"], "cwd": "/"},
        "annotations": {"com.example/token": SECRET, "plain": "text"},
        "hooks": {"prestart": [{"path": "/h", "env": [f"AUTH={SECRET}"], "args": ["h", "--secret", SECRET]}]},
        "linux": {"namespaces": []},
    }
    kept = copy.deepcopy(config)
    masked = mask().config(config)
    assert SECRET not in json.dumps(masked)
    assert config == kept
    assert masked["process"]["env"][0] == "PATH=/bin"
    assert masked["annotations"]["plain"] == "text"
    assert masked["linux"] is config["linux"]


@pytest.mark.parametrize(
    "config",
    [
        {"process": 1, "annotations": [], "hooks": "x"},
        {"process": {"env": [1], "args": None}, "annotations": {"token": 5}, "hooks": {"prestart": [1], "x": 2}},
    ],
)
def test_configs_of_wrong_shape_pass(config: dict[str, Any]) -> None:
    assert mask().config(config) == config


def test_equal_secrets_look_equal_on_one_host_only() -> None:
    one, same = (mask().value("TOKEN", SECRET) for _ in range(2))
    assert one == same != mask().value("TOKEN", "other")
    assert mask("another host").value("TOKEN", SECRET) != one


def test_without_a_salt_the_boot_is_one() -> None:
    assert mask("").value("TOKEN", SECRET) != mask().value("TOKEN", SECRET)


def test_errors_stay_readable() -> None:
    text = 'unable to start container process: exec: "/etc/passwd": permission denied'
    assert mask().text(text) == text
    assert SECRET not in mask().text(f"login failed, password: {SECRET}")


def test_what_was_masked_is_masked_in_what_is_said_of_it() -> None:
    one = mask()
    hidden = one.value("TOKEN", SECRET)
    assert one.text(f"{SECRET} is not valid") == f"{hidden} is not valid"
    assert one.texts([{"a": SECRET, "b": 1}]) == [{"a": hidden, "b": 1}]
