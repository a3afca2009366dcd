"""Forty planted secrets, none of which is found in record, configs, exports or the tools' output."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hookrun.policies.decide import Outcome
from hookrun.runtime.context import Context
from hookrun.runtime.log import Log
from hookrun.wrapper import settings
from hookrun.wrapper.cli import argv
from hookrun.wrapper.patch.bundle import Bundle
from hookrun.wrapper.record import record
from tests.support.runtimes import HOOKCTL


class Planted:
    """Secrets by number; `texts` remembers all that were made."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self) -> str:
        self.texts.append(f"swordfish{len(self.texts):02d}q")
        return self.texts[-1]

    def jwt(self) -> str:
        parts = [
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
            for part in ({"alg": "HS256"}, {"sub": "x"})
        ]
        return f"{'.'.join(parts)}.{self()}"

    def docker_auth(self) -> str:
        auth = base64.b64encode(f"user:{self()}".encode()).decode()
        self.texts.append(auth)
        return json.dumps({"auths": {"registry.example": {"auth": auth}}})


def environment(secret: Planted) -> list[str]:
    names = (
        "DB_PASSWORD", "db_password", "POSTGRES_PASSWD", "MYSQL_PWD", "PGPASS", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "GITHUB_TOKEN",
        "NPM_CONFIG__AUTH", "STRIPE_API_KEY", "SSH_PRIVATE_KEY", "ENCRYPTION_KEY", "SENTRY_DSN", "SESSION_COOKIE", "GOOGLE_CREDENTIALS", "GPG_PASSPHRASE",
        "AZURE_CONNECTION_STRING",
    )  # fmt: skip
    return [
        "PATH=/bin",
        *(f"{name}={secret()}" for name in names),
        f"DATABASE_URL=postgres://app:{secret()}@db/app",
        f"JWT={secret.jwt()}",
        f"PEM=-----BEGIN RSA PRIVATE KEY-----\n{secret()}\n-----END RSA PRIVATE KEY-----",
        f"X=ghp_{secret()}",
        f"Y=AKIA{secret()}",
        f"DOCKER={secret.docker_auth()}",
    ]


def arguments(secret: Planted) -> list[str]:
    return [
        "app",
        f"--password={secret()}",
        "--token",
        secret(),
        "-H",
        f"Authorization: Bearer {secret()}",
        f"https://me:{secret()}@host/",
        f"API_KEY={secret()}",
        f"mysql --user=root --password={secret()} -e 'select 1'",
        f"export TOKEN='{secret()} {secret()}'; run",
        f"login\n\t--secret {secret()}",
    ]


def labels(secret: Planted) -> dict[str, str]:
    return {
        "plain": "text",
        "com.example/token": secret(),
        "com.example/registry": secret.docker_auth(),
        "com.example/last-applied": json.dumps({"env": [{"name": "DB_PASSWORD", "value": secret()}]}),
        "com.example/url": f"amqp://u:{secret()}@mq",
    }


def config(secret: Planted) -> dict[str, Any]:
    hook = {"path": "/h", "args": ["h", "--api-key", secret()], "env": [f"VAULT_TOKEN={secret()}"]}
    return {
        "process": {"env": environment(secret), "args": arguments(secret)},
        "annotations": labels(secret),
        "hooks": {"poststop": [hook]},
        "mounts": [{"destination": "/m", "type": "cifs", "source": "//s/m", "options": ["ro", f"password={secret()}"]}],
    }


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    """A record of a create and an exec full of secrets, in tmp_path/record."""
    secret = Planted()
    (tmp_path / "config.json").write_text(json.dumps(config(secret)))
    bundle = Bundle(str(tmp_path))
    outcome = Outcome({**bundle.config, "annotations": {**bundle.config["annotations"], "added/secret": secret()}})
    known = bundle.config["process"]["env"][1].partition("=")[2]
    outcome.hooks = [
        {
            "stage": "poststop",
            "path": "/h",
            "source": "hooks.d",
            "file": "/f",
            "line": 1,
            "env": [f"PASSWORD={secret()}"],
        }
    ]
    outcome.decisions = [
        {
            "policy": "p",
            "mode": "audit",
            "action": "audited",
            "message": f"would be denied: {known} is no password",
            "ms": 1.0,
            "file": "/f",
            "line": 1,
        }
    ]
    line = [
        "runc",
        "exec",
        "--env",
        f"DB_PASSWORD={secret()}",
        "--env",
        f"URL=redis://:{secret()}@r",
        "box",
        "mysql",
        f"--password={secret()}",
    ]
    values = settings.completed({"record": {"directory": f"{tmp_path}/record"}, "mask": {"salt": "s"}})
    chosen = settings.read("", values, str(tmp_path))
    kept = record.Record(argv.parse([word.encode() for word in line]), chosen)
    kept.decided(outcome, {})
    kept.changed(bundle, outcome.config, json.dumps(outcome.config).encode())
    context = Context("/run/x", Log())
    context.process = {"env": [f"API_TOKEN={secret()}"], "args": ["sh", "-c", f"curl -H 'Cookie: {secret()}' x"]}
    context.hook_results = [
        {
            "stage": "prestart",
            "index": 0,
            "path": "/h",
            "ms": 1.0,
            "status": 1,
            "stderr": f"could not log in with {known}\n",
        }
    ]
    assert (
        kept.close(
            context, 1, f"error running hook: exit status 1, stdout: , stderr: {known} is wrong, TOKEN={secret()}"
        )
        == ""
    )
    return secret


def test_no_secret_is_found(planted: Planted, tmp_path: Path) -> None:
    assert len(planted.texts) >= 40
    files = [path for path in (tmp_path / "record").rglob("*") if path.is_file()]
    assert len(files) == 2
    texts = [path.read_text() for path in files]
    words = [str(HOOKCTL), "--state", f"{tmp_path}/state", "-vv", "trace", "--directory", f"{tmp_path}/record"]
    for form in ("html", "csv", "otlp", "perfetto"):
        texts.append(said(*words, "export", "--format", form))
    for command in ("show", "diff", "config", "timeline"):
        texts.append(said(*words, command, "box"))
    texts.append((tmp_path / "record/index.sqlite").read_bytes().decode("latin-1"))
    for text in texts:
        assert [one for one in planted.texts if one in text] == []
    assert "PATH=/bin" in texts[0] + texts[1]
    assert "select 1" in texts[0] + texts[1]


def said(*words: str) -> str:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
