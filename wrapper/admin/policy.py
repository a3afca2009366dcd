"""`hookctl policy`: writing policies, and knowing what they do before they are in force."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree

import jsonpatch
import typer

from hookrun import policies
from hookrun.policies import (
    blindness,
    compiler,
    decide,
    document,
    exception_lint,
    exceptions,
    explain,
    match,
    plausible,
    policy,
    testing,
    yaml_versions,
)
from hookrun.policies import sources as policy_sources
from hookrun.policies.compiler import Source
from hookrun.policies.document import Invalid
from hookrun.policies.policy import Policy
from hookrun.runtime import jsonio
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.spec import go_decoder, shape
from hookrun.wrapper import settings
from hookrun.wrapper.admin import files, lint_report, output, sources
from hookrun.wrapper.admin import host as hosts
from hookrun.wrapper.admin import store as snapshots
from hookrun.wrapper.admin.lint_report import Finding, Level
from hookrun.wrapper.admin.output import AsJson
from hookrun.wrapper.admin.trace import app as trace
from hookrun.wrapper.admin.trace import diff as trace_diff
from hookrun.wrapper.admin.trace.store import Query, Store
from hookrun.wrapper.caller import claims
from hookrun.wrapper.decision import policing, update
from hookrun.wrapper.exposure.call import Exposure
from hookrun.wrapper.record import changes
from hookrun.wrapper.record.line import Line
from hookrun.wrapper.record.masking import Mask

app = typer.Typer(help="Write policies, and know what they do before they are in force.", no_args_is_help=True)

Paths = Annotated[
    list[Path] | None, typer.Argument(help="Policy files or directories; this host's policies.d by default.")
]
From = Annotated[
    list[Path] | None, typer.Option("--policies", "-p", help="Files or directories; policies.d by default.")
]


class Form(StrEnum):
    """What `lint` prints."""

    text = "text"
    json = "json"
    sarif = "sarif"


_LIBRARY = Path(policies.__file__).parent / "library"
_COUNTED = ("denied", "changed")
_OUTCOMES = (*_COUNTED, "error", "exempt")
_TEMPLATE = """\
apiVersion: hookrun/v1
kind: Policy
metadata:
  name: {name}
  description: What it is for, in one sentence.
spec:
  mode: audit # enforce, once the record shows that it hits the right ones
  match:
    all:
      - {{engine: [docker, podman]}}
  deny:
    - when: {{field: /mounts/*/source, equals: /}}
      message: mounting the host's root is not allowed
tests:
  - name: the host's root is refused
    config: {{mounts: [{{destination: /host, source: /, type: bind}}]}}
    expect: {{denied: mounting the host's root is not allowed}}
"""


@app.command("new")
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The policy's name, or one of the library's.")] = "",
    source: Annotated[str, typer.Option("--from", help="The library's policy to start from.")] = "",
    show_library: Annotated[bool, typer.Option("--list", help="List the library.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a policy into policies.d: from the library, or a template to fill in."""
    library = {path.stem: path for path in sorted(_LIBRARY.glob("*.yaml"))}
    if show_library or not name:
        rows = [_library_row(path) for path in library.values()]
        if as_json:
            output.as_json([dict(zip(("name", "description", "breaks"), row, strict=True)) for row in rows])
        else:
            output.table(("NAME", "DESCRIPTION", "BREAKS"), rows)
        return
    source = source or (name if name in library else "")
    if source and source not in library:
        raise Failure(f"the library has no {source!r}{document.suggestion(source, library)}")
    text = library[source].read_text(encoding="utf-8") if source else _TEMPLATE.format(name=name)
    if source and source != name:
        text = text.replace(f"name: {source}\n", f"name: {name}\n", 1)
    path = hosts.of(context).policies / f"{name}.yaml"
    if path.exists():
        raise Failure(f"{path} already exists")
    try:
        compiler.load(text, str(path))
    except Invalid as problem:
        raise Failure(problem.text) from None
    files.replace(path, text)
    if as_json:
        output.as_json({"name": name, "file": str(path)})
        return
    typer.echo(f"{path}: written; it is in force after `hookctl apply`")


def _library_row(path: Path) -> tuple[str, str, str]:
    found = compiler.load(path.read_text(encoding="utf-8"), str(path))
    return path.stem, found[0].description, found[0].breaks


@app.command("lint")
def lint(
    context: typer.Context,
    paths: Paths = None,
    form: Annotated[Form, typer.Option("--format", help="What to print.")] = Form.text,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Check policy files; each finding is FILE:LINE:COLUMN: TEXT. Notes alone are no fault."""
    form = Form.json if as_json else form
    found, problems = _examined(context, paths)
    findings = [Finding.of(Level.ERROR, problem) for problem in problems]
    findings += [Finding.of(Level.WARNING, line) for line in _ambiguous(context, paths, found)]
    for source in found:
        findings += [Finding.of(Level.WARNING, doubt.text, source.name) for doubt in plausible.findings(source)]
        notes = (
            *compiler.untold(source),
            *blindness.missed(source),
            *testing.unreached(source),
            *exception_lint.notes(source),
        )
        findings += [Finding.of(Level.NOTE, note, source.name) for note in notes]
    if form is Form.json:
        output.as_json(lint_report.as_values(findings))
    elif form is Form.sarif:
        output.as_json(lint_report.as_sarif(findings, found))
    else:
        for finding in findings:
            typer.echo(f"note: {finding.placed}" if finding.level is Level.NOTE else finding.placed)
    if any(finding.level is not Level.NOTE for finding in findings):
        raise typer.Exit(1)
    if form is Form.text:
        typer.echo(f"{len(found)} {_plural(len(found), 'policy', 'policies')}, nothing wrong")


def _ambiguous(context: typer.Context, paths: list[Path] | None, found: list[Source]) -> list[str]:
    """Lines on words, also in lists from files, that YAML 1.1 takes for something else."""
    texts = {path: text for source in found for path, text in source.document.files.items()}
    for path in _files(paths or [hosts.of(context).policies], is_given=bool(paths)):
        try:
            texts[str(path)] = compiler.read_file(path)
        except Invalid:
            continue  # it is told already
    return [line for path in sorted(texts) for line in yaml_versions.differences(path, texts[path])]


@app.command("test")
def test(
    context: typer.Context,
    paths: Paths = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write the results as JUnit XML, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the tests in policy files; exit status 1 if one fails."""
    outcomes = [outcome for source in _loaded(context, paths) for outcome in testing.run(source)]
    failed = [outcome for outcome in outcomes if outcome.problem]
    if junit is not None:
        files.replace(junit, _junit(outcomes))
    passed = len(outcomes) - len(failed)
    if as_json:
        tests = [_outcome_values(outcome) for outcome in outcomes]
        output.as_json({"passed": passed, "failed": len(failed), "tests": tests})
    else:
        for outcome in failed:
            typer.echo(f"FAILED {outcome.place}: {outcome.policy}: {outcome.name}: {outcome.problem}")
        typer.echo(f"{passed} passed, {len(failed)} failed")
    if failed:
        raise typer.Exit(1)


def _outcome_values(outcome: testing.Outcome) -> dict[str, Any]:
    file, _, line = outcome.place.rpartition(":")
    return {
        "policy": outcome.policy,
        "name": outcome.name,
        "file": file,
        "line": int(line),
        "passed": not outcome.problem,
        "problem": outcome.problem,
    }


def _junit(outcomes: list[testing.Outcome]) -> str:
    failures = sum(1 for outcome in outcomes if outcome.problem)
    suite = ElementTree.Element(
        "testsuite", name="hookrun policies", tests=str(len(outcomes)), failures=str(failures), errors="0"
    )
    for outcome in outcomes:
        file, _, line = outcome.place.rpartition(":")
        case = ElementTree.SubElement(
            suite, "testcase", classname=outcome.policy, name=outcome.name, file=file, line=line
        )
        if outcome.problem:
            ElementTree.SubElement(case, "failure", message=outcome.problem).text = outcome.place
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


@app.command("list")
def list_policies(context: typer.Context, paths: Paths = None, as_json: AsJson = False) -> None:
    """List policies in the order in which they judge."""
    found = compiler.ordered(_loaded(context, paths))
    if as_json:
        output.as_json([_values(one) for one in found])
        return
    rows = [
        (
            one.priority,
            one.name,
            one.policy.mode,
            one.policy.on_error,
            one.policy.severity or "-",
            one.policy.owner or "-",
            exception_lint.summary(one.policy),
            one.description,
        )
        for one in found
    ]
    output.table(("PRIORITY", "NAME", "MODE", "ON ERROR", "SEVERITY", "OWNER", "EXCEPTIONS", "DESCRIPTION"), rows)


def _values(source: Source) -> dict[str, Any]:
    """A policy for JSON."""
    one = source.policy
    return {
        "name": one.name,
        "priority": source.priority,
        "mode": one.mode,
        "onError": one.on_error,
        "severity": one.severity,
        "owner": one.owner,
        "description": source.description,
        "file": one.file,
        "line": one.line,
        "exceptions": [
            exceptions.noted(exception, ended=exceptions.has_ended(exception, None)) for exception in one.exceptions
        ],
    }


@app.command("show")
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The policy's name.")],
    as_json: AsJson = False,
) -> None:
    """Show a policy as it is written."""
    loaded = {one.name: one for one in _loaded(context, None)}
    found = {one.name: one.policy for one in loaded.values()}
    if name not in found:
        raise Failure(f"there is no policy {name!r}{document.suggestion(name, found)}")
    one = found[name]
    following = [other.line for other in found.values() if other.file == one.file and other.line > one.line]
    lines = (files.read(Path(one.file)) or "").splitlines()[one.line - 1 : min(following) - 1 if following else None]
    text = "\n".join(lines).rstrip().removesuffix("---").rstrip()
    if as_json:
        output.as_json({**_values(loaded[name]), "text": text, "document": loaded[name].document.value})
        return
    typer.echo(f"# {one.file}:{one.line}")
    typer.echo(text)


@app.command("explain")
def explain_call(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="BUNDLE|CONFIG|INVOCATION", help="Or a recorded call's or container's id.")
    ],
    engine: Annotated[str, typer.Option("--engine", help="Who calls, for a bundle or a config.")] = "docker",
    command: Annotated[str, typer.Option("--command", help="The command, for a bundle or a config.")] = "create",
    chosen: From = None,
    full: trace.Full = False,
    as_json: AsJson = False,
) -> None:
    """Say of each policy whether it matches a call and why, and what it changes, step by step."""
    config, call = _subject(context, what, engine, command)
    accounts = list(_accounts(compiler.ordered(_loaded(context, chosen)), config, call))
    refused = accounts[-1].refused if accounts else ""
    if as_json:
        output.as_json({"denied": refused, "policies": [account.values() for account in accounts]})
        return
    for account in accounts:
        _tell(account, full=full)
    if refused:
        typer.echo("the call is refused; the policies after it are not asked")


@dataclass(frozen=True)
class _Account:
    """What one policy makes of a call, and why; `turn` is None where it is not for the call."""

    one: Policy
    turn: decide.Turn | None
    why: list[str]

    @property
    def refused(self) -> str:
        """Why the call is refused, "" if it is not."""
        return self.turn.denied if self.turn else ""

    def values(self) -> dict[str, Any]:
        """The same for JSON. `action` and `patch` are what it would do, in audit mode too."""
        action, message = _described(self.turn) if self.turn else ("none", "")
        return {
            "policy": self.one.name,
            "mode": self.one.mode,
            "severity": self.one.severity,
            "owner": self.one.owner,
            "file": self.one.file,
            "line": self.one.line,
            "matched": self.turn is not None,
            "action": action,
            "message": message,
            "why": self.why,
            "patch": changes.between(self.turn.before, self.turn.step.config) if self.turn else [],
        }


def _described(turn: decide.Turn) -> tuple[str, str]:
    return decide.described(turn.policy, turn.step, turn.before)


def _accounts(found: list[Source], config: dict[str, Any], call: dict[str, Any]) -> Iterator[_Account]:
    """What the policies make of a call, one after the other, until one refuses it."""
    view = match.View(config, call)
    active = (source.policy for source in found if source.policy.mode != policy.OFF)
    turns = {turn.policy.name: turn for turn in decide.turns(active, view)}
    for one in (source.policy for source in found):
        turn = turns.get(one.name)
        account = _Account(one, turn, [*explain.matching(one, view), *(_reasons(turn, view) if turn else ())])
        yield account
        if account.refused:
            return


def _reasons(turn: decide.Turn, view: match.View) -> list[str]:
    """Why a policy that is for the call does what it does."""
    denials = [] if turn.step.exempt else explain.denials(turn.policy, match.View(turn.before, view.invocation))
    return [*explain.exceptions(turn.policy, view), *denials]


def _tell(account: _Account, *, full: bool) -> None:
    one, turn = account.one, account.turn
    typer.echo(f"policy {one.name} ({', '.join(filter(None, _about(one)))})")
    _echo("  ", account.why)
    if turn is None:
        typer.echo("  -> does nothing")
        return
    action, message = _described(turn)
    would_be = "would be " if one.mode == policy.AUDIT else ""
    typer.echo(f"  -> {would_be}{action}{': ' if message else ''}{output.harmless(message)}")
    _echo("     ", _difference(turn.before, turn.step.config, full=full))


def _about(one: Policy) -> tuple[str, ...]:
    severity = f"severity {one.severity}" if one.severity else ""
    return one.mode, severity, output.harmless(one.owner), f"{one.file}:{one.line}"


def _difference(before: Any, after: Any, *, full: bool) -> list[str]:
    patch = changes.between(before, after)
    large = {} if full else trace_diff.large(patch, before)
    lines = []
    for operation in patch:
        place = trace_diff.place(operation["path"])
        value = f" {json.dumps(operation['value'])}" if "value" in operation else ""
        lines.append(" ".join(large[place]) if place in large else f"{operation['op']} {operation['path']}{value}")
    return list(dict.fromkeys(lines))


def _echo(indent: str, lines: list[str]) -> None:
    for line in lines:
        typer.echo(indent + output.harmless(line))


def _subject(context: typer.Context, what: str, engine: str, command: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config and the call that a command line means. Raises Failure."""
    path = Path(what)
    if path.exists():
        config = _config_in(path / "config.json" if path.is_dir() else path)
        call = testing.invocation({"engine": engine, "command": command})
        exposure = Exposure(str((path if path.is_dir() else path.parent).absolute()), config)
        return config, {
            **call,
            **_told(engine, "", config),
            "mask": _masking(context),
            "host_namespaces": policing.host_namespaces(policing.joined_namespaces(config)),
            "look": exposure.look,
            "land": exposure.land,
            "form": lambda: policing.misform(config),
            "is_whole": True,
        }
    store = Store(trace.directory_of(hosts.of(context)))
    return recorded(store, store.find(what))


def _config_in(path: Path) -> dict[str, Any]:
    try:
        config = jsonio.loads(path.read_bytes())
    except OSError as error:
        raise Failure(f"cannot read {path}: {reason(error)}") from None
    except ValueError as error:
        raise Failure(f"{path}: {error}") from None
    if not isinstance(config, dict):
        raise Failure(f"{path}: not a JSON object")
    go_decoder.normalize(config, shape.CONFIG)
    return config


def recorded(store: Store, call: Line) -> tuple[dict[str, Any], dict[str, Any]]:
    """A recorded call as policies see it: its config, masked, and who called. Raises Failure where it has none."""
    if call["command"] == "exec" and call["process"]:
        made = store.find(call["container"])
        config = {**store.after(made), "process": call["process"]} if made["config"] else {"process": call["process"]}
    elif call["command"] == "update":
        config = _updated(store, call)
    else:
        config = store.before(call)
    return config, {
        "engine": call["engine"],
        "command": call["command"],
        "runtime": call["runtime"]["name"],
        "container": call["container"],
        **(call.get("told") or _told(call["engine"], call["container"], config)),
        "host_namespaces": None,
        "look": policy_sources.stated(call.get("sources") or {}),
        "land": policy_sources.landed(call.get("lands") or {}),
        "form": lambda: policing.misform(config),
        "is_whole": True,
    }


def _updated(store: Store, call: Line) -> dict[str, Any]:
    """The container's config with the limits that a recorded update asked for. Raises Failure."""
    resources = call.get("resources")
    if not resources:
        raise Failure(f"{call['id']}: no policy was in force: the record does not say what the update asked for")
    config = store.after(store.find(call["container"]))
    linux = config.get("linux") or {}
    asked = update.overlaid(linux.get("resources") or {}, resources["asked"])
    return {**config, "linux": {**linux, "resources": asked}}


def _told(engine: str, container: str, config: dict[str, Any]) -> dict[str, Any]:
    """What the engine's own records tell of a container now."""
    return {"image": claims.image(engine, container, config), "labels": claims.labels(engine, container, config)}


@app.command("simulate")
def simulate(
    context: typer.Context,
    configs: Annotated[
        Path | None,
        typer.Argument(help="A directory of configs or bundles; by default, the calls recorded on this host."),
    ] = None,
    chosen: From = None,
    engine: Annotated[str, typer.Option("--engine", help="Who calls, for configs.")] = "docker",
    full: trace.Full = False,
    fail_on: Annotated[
        str,
        typer.Option("--fail-on", metavar="denied=N,changed=N", help="Exit status 1 if at least N calls would be."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Say what a set of policies would have denied and changed, as if all were enforced, container by container."""
    limits = _limits(fail_on)
    active = [one.policy for one in compiler.ordered(_loaded(context, chosen)) if one.policy.mode != policy.OFF]
    enforced = [_enforced(one) for one in active]
    calls = _configs_below(configs, engine, _masking(context)) if configs else _recorded_calls(context)
    rows: list[tuple[str, str, str, str]] = []
    totals: dict[str, dict[str, int]] = {one.name: dict.fromkeys(_OUTCOMES, 0) for one in enforced}
    counts = dict.fromkeys(_COUNTED, 0)
    for name, config, call in calls:
        found = _judged(enforced, config, call, full=full)
        for counted in _COUNTED:
            counts[counted] += any(action == counted for _, action, _ in found)
        for policy_name, action, message in found:
            totals[policy_name][action] += 1
            rows.append((name, policy_name, action, message))
    if as_json:
        decisions = [dict(zip(("call", "policy", "action", "message"), row, strict=True)) for row in rows]
        sums = [{"policy": name, **actions} for name, actions in totals.items()]
        output.as_json({"calls": len(calls), **counts, "policies": sums, "decisions": decisions})
    else:
        _show_simulated(rows, totals, counts, len(calls))
    if any(counts[counted] >= limit for counted, limit in limits.items()):
        raise typer.Exit(1)


def _show_simulated(
    rows: list[tuple[str, str, str, str]], totals: dict[str, dict[str, int]], counts: dict[str, int], calls: int
) -> None:
    if rows:
        output.table(("CALL", "POLICY", "WOULD BE", "WHY"), rows)
        typer.echo()
    output.table(
        ("POLICY", *(outcome.upper() for outcome in _OUTCOMES)),
        [(name, *actions.values()) for name, actions in totals.items()],
    )
    told = ", ".join(f"{number} would be {counted}" for counted, number in counts.items())
    typer.echo(f"{calls} {_plural(calls, 'call', 'calls')}: {told}")


def _limits(text: str) -> dict[str, int]:
    """The counts that `--fail-on` names. Raises Failure."""
    found = {}
    for part in filter(None, text.split(",")):
        counted, _, number = part.partition("=")
        if counted not in _COUNTED or not number.isdecimal() or int(number) < 1:
            raise Failure(f"--fail-on: {part!r}: give denied=N or changed=N, with N at least 1")
        found[counted] = int(number)
    return found


def _enforced(one: Policy) -> Policy:
    twin = copy.copy(one)
    twin.mode = policy.ENFORCE
    return twin


def _judged(
    enforced: list[Policy], config: dict[str, Any], call: dict[str, Any], *, full: bool
) -> list[tuple[str, str, str]]:
    """Policy, denied, changed, error or exempt, and why."""
    outcomes = ((turn, _outcome(turn, full=full)) for turn in decide.turns(enforced, match.View(config, call)))
    return [(turn.policy.name, *outcome) for turn, outcome in outcomes if outcome]


def _outcome(turn: decide.Turn, *, full: bool) -> tuple[str, str] | None:
    if turn.step.exempt:
        return "exempt", exceptions.told(turn.step.exempt)
    if turn.denied:
        return "denied", turn.denied
    if turn.step.fault:
        return "error", turn.step.fault
    if turn.step.config is not turn.before:
        return "changed", ", ".join(_places(turn.before, turn.step.config, full=full))
    return None


def _places(before: Any, after: Any, *, full: bool) -> list[str]:
    patch = changes.between(before, after)
    large = {} if full else trace_diff.large(patch, before)
    places = ((trace_diff.place(operation["path"]), operation["path"]) for operation in patch)
    return list(dict.fromkeys(" ".join(large[place]) if place in large else path for place, path in places))


def _masking(context: typer.Context) -> Callable[[], Mask]:
    """How messages are masked, by the settings in force: a recorded config is masked already."""
    content = snapshots.running(hosts.of(context))
    return lambda: Mask(settings.chosen(content, "hookrun"))


def _configs_below(
    directory: Path, engine: str, mask: Callable[[], Mask]
) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    if not directory.is_dir():
        raise Failure(f"{directory}: not a directory")
    found = []
    for path in sorted(directory.rglob("*.json")):
        config = _config_in(path)
        call = {**testing.invocation({"engine": engine}), **_told(engine, "", config), "mask": mask}
        found.append((str(path.relative_to(directory)), config, call))
    return found


@dataclass(frozen=True)
class Denied:
    """A recorded call that a set of policies would deny."""

    call: str
    policy: str
    why: str


def newly_denied(store: Store, before: list[Source], after: list[Source], last: int) -> list[Denied]:
    """Of the last so many recorded calls those that one set of policies would deny and another lets through."""
    found = []
    for call in store.last(last):
        judged = _as_judged(store, call)
        if judged is None:
            continue
        new, old = (_denied(compiler.ordered(candidates), *judged) for candidates in (after, before))
        if new and not old:
            found.append(Denied(call["id"], *new))
    return found


def _denied(candidates: list[Source], config: dict[str, Any], call: dict[str, Any]) -> tuple[str, str] | None:
    """Policy and message of the denial, if there is one; policies that only audit do not deny."""
    enforced = (one.policy for one in candidates if one.policy.mode == policy.ENFORCE)
    turns = decide.turns(enforced, match.View(config, call))
    return next(((turn.policy.name, turn.denied) for turn in turns if turn.denied), None)


def _recorded_calls(context: typer.Context) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    store = Store(trace.directory_of(hosts.of(context)))
    found = []
    for call in list(store.select(Query())):  # the index is closed before it is asked for single calls
        judged = _as_judged(store, call)
        if judged is not None:
            found.append((f"{call['container']} {call['command']}", *judged))
    return found


def _as_judged(store: Store, call: Line) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """A recorded call as policies see it; None for one that they do not judge, or whose config is not kept any more."""
    if call["command"] not in ("create", "run", "restore", "exec", "update"):
        return None
    try:
        return recorded(store, call)
    except (Failure, jsonpatch.JsonPatchException):
        return None


def _loaded(context: typer.Context, paths: list[Path] | None) -> list[Source]:
    found, problems = _examined(context, paths)
    if problems:
        raise Failure("\n".join(problems))
    return found


def _examined(context: typer.Context, paths: list[Path] | None) -> tuple[list[Source], list[str]]:
    """The policies of some files and directories, and what is wrong with them. Raises Failure for a file not there."""
    found: list[Source] = []
    problems: list[str] = []
    for path in _files(paths or sources.policy_directories(hosts.of(context)), is_given=bool(paths)):
        try:
            one, wrong = compiler.examine(compiler.read_file(path), str(path))
        except OSError as error:
            raise Failure(f"cannot read {path}: {reason(error)}") from None
        except Invalid as problem:
            one, wrong = [], [problem]
        found += one
        problems += [problem.text for problem in wrong]
    try:
        compiler.ordered(found)
    except Invalid as problem:
        problems.append(problem.text)
    return found, problems


def _files(paths: list[Path], is_given: bool) -> list[Path]:
    found = []
    for path in paths:
        if path.is_dir():
            found += sources.policy_files(path)
        elif is_given:
            found.append(path)
    return found


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many
