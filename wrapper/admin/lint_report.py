"""What `hookctl policy lint` found, for machines: JSON, and SARIF 2.1.0 for code hosts and editors."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from hookrun.policies.compiler import Source
from hookrun.wrapper import VERSION

_LEVELS = {"critical": "error", "high": "error", "medium": "warning", "low": "note", "info": "note"}
_PLACED = re.compile(r"(?s)(?P<file>.*?):(?P<line>\d+):(?P<column>\d+): (?P<text>.*)")


class Level(StrEnum):
    """How bad a finding is, in SARIF's words: an error is never applied, a warning is hardly meant."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and where; `line` and `column` count from 1. `policy` is "" where there is none yet."""

    level: Level
    file: str
    line: int
    column: int
    text: str
    policy: str = ""

    @staticmethod
    def of(level: Level, placed: str, policy: str = "") -> Finding:
        """A finding from a line FILE:LINE:COLUMN: TEXT."""
        found = _PLACED.fullmatch(placed)
        if found is None:
            return Finding(level, "", 1, 1, placed, policy)
        return Finding(level, found["file"], int(found["line"]), int(found["column"]), found["text"], policy)

    @property
    def placed(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.text}" if self.file else self.text


def as_values(findings: list[Finding]) -> list[dict[str, Any]]:
    """The findings for JSON."""
    return [asdict(finding) for finding in findings]


def as_sarif(findings: list[Finding], policies: list[Source]) -> dict[str, Any]:
    """The findings as a SARIF log (sarif-v2.1.0, section 3.13); a policy is a rule, its severity the rule's level."""
    driver = {"name": "hookctl policy lint", "version": VERSION, "rules": [_rule(one) for one in policies]}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "results": [_result(finding) for finding in findings],
            }
        ],
    }


def _rule(source: Source) -> dict[str, Any]:
    """A reportingDescriptor (section 3.49). Without a severity, the level is SARIF's default."""
    one = source.policy
    rule: dict[str, Any] = {"id": one.name, "properties": {"severity": one.severity, "owner": one.owner}}
    if source.description:
        rule["shortDescription"] = {"text": source.description}
    if one.severity:
        rule["defaultConfiguration"] = {"level": _LEVELS[one.severity]}
    return rule


def _result(finding: Finding) -> dict[str, Any]:
    uri = Path(finding.file).absolute().as_uri() if finding.file else ""
    region = {"startLine": finding.line, "startColumn": finding.column}
    return {
        **({"ruleId": finding.policy} if finding.policy else {}),
        "level": finding.level,
        "message": {"text": finding.text},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}] if uri else [],
    }
