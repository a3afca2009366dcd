"""`hookctl metrics`: what a host's hookrun does, for Prometheus.

Counters go on where the last look at the record ended (STATE/metrics.json): a record that is pruned takes nothing back.
Names and units follow Prometheus' own conventions.
"""

from __future__ import annotations

import ipaddress
import json
import socketserver
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.server import HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper import VERSION
from hookrun.wrapper.admin import files, record_position, store
from hookrun.wrapper.admin import host as hosts
from hookrun.wrapper.admin.fleet import standing
from hookrun.wrapper.admin.host import Host
from hookrun.wrapper.admin.record_position import Position
from hookrun.wrapper.admin.trace import app as trace
from hookrun.wrapper.admin.trace import index as trace_index
from hookrun.wrapper.record.line import Line
from hookrun.wrapper.start import program

if TYPE_CHECKING:
    from prometheus_client.core import Metric

# Upper ends in seconds: a call of hookrun's takes from two milliseconds on, a hook as long as it likes.
BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_KEPT = "metrics.json"
_UNIX = "unix:"

Key = tuple[str, ...]


@dataclass
class Histogram:
    """How often something took how long: counts by bucket, the last without an end, and seconds in all."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0

    def add(self, seconds: float) -> None:
        self.counts[sum(1 for end in BUCKETS if end < seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus has them: each with those below."""
        so_far = 0
        found: list[tuple[str, float]] = []
        for end, count in zip((*map(str, BUCKETS), "+Inf"), self.counts, strict=True):
            so_far += count
            found.append((end, so_far))
        return found


@dataclass
class Tally:
    """What was counted of a record, by labels."""

    calls: dict[Key, int] = field(default_factory=dict)  # command, engine, result
    durations: dict[Key, Histogram] = field(default_factory=dict)  # command, engine
    decisions: dict[Key, int] = field(default_factory=dict)  # policy, effect
    hooks: dict[Key, Histogram] = field(default_factory=dict)  # hook, stage
    hook_failures: dict[Key, int] = field(default_factory=dict)  # hook, stage

    def add(self, call: Line) -> None:
        """Count a call of the record in."""
        command, engine = call["command"], call["engine"]
        _count(self.calls, (command, engine, trace_index.result(call)))
        self.durations.setdefault((command, engine), Histogram()).add(call["milliseconds"] / 1000)
        for decision in call["decisions"]:
            effect = trace_index.effect_of(decision)
            if effect is not trace_index.Effect.none:
                _count(self.decisions, (decision["policy"], effect.value))
        for hook in call["hook_results"]:
            key = (hook["path"], hook["stage"])
            self.hooks.setdefault(key, Histogram()).add(hook["ms"] / 1000)
            _count(self.hook_failures, key, int(hook.get("status") != 0))

    def packed(self) -> dict[str, Any]:
        """For JSON, which has no tuples as keys."""
        return {
            name: [
                [*key, [value.counts, value.total] if isinstance(value, Histogram) else value]
                for key, value in one.items()
            ]
            for name, one in vars(self).items()
        }

    @classmethod
    def unpacked(cls, value: dict[str, Any]) -> Tally:
        """Raises ValueError, TypeError or KeyError for what is none."""
        found = cls()
        for name, one in vars(found).items():
            for *key, number in value[name]:
                one[tuple(key)] = Histogram(*number) if isinstance(number, list) else number
        return found


def _count(counts: dict[Key, int], key: Key, by: int = 1) -> None:
    counts[key] = counts.get(key, 0) + by


def metrics(
    context: typer.Context,
    textfile: Annotated[
        Path | None, typer.Option("--textfile", help="Write them to this file, for node_exporter's textfile collector.")
    ] = None,
    listen: Annotated[
        str, typer.Option("--listen", metavar="ADDRESS", help="Serve them: 127.0.0.1:PORT, [::1]:PORT or unix:PATH.")
    ] = "",
) -> None:
    """Print this host's metrics in Prometheus' text form, or serve them."""
    library = _library()
    host = hosts.of(context)
    registry = library.CollectorRegistry(auto_describe=False)
    registry.register(_Collector(host))
    if listen:
        _serve(listen, library.exposition.MetricsHandler.factory(registry))
    elif textfile:
        try:
            library.write_to_textfile(str(textfile), registry)
        except OSError as error:
            raise Failure(f"cannot write {textfile}: {reason(error)}") from None
    else:
        typer.echo(library.generate_latest(registry).decode(), nl=False)


def _library() -> Any:
    try:
        import prometheus_client  # hookctl's other commands do without
        import prometheus_client.exposition
    except ImportError:
        raise Failure("`hookctl metrics` needs prometheus_client: pip install 'hookrun[fleet]'") from None
    return prometheus_client


class _Server(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    server_name, server_port = "localhost", 0

    def get_request(self) -> tuple[Any, Any]:
        """The handler wants an address, and a client of a Unix socket has none."""
        request, _ = super().get_request()
        return request, ("unix", 0)


def _serve(listen: str, handler: Any) -> None:
    """Answer until the end. Raises Failure."""
    try:
        if listen.startswith(_UNIX):
            path = listen.removeprefix(_UNIX)
            if Path(path).is_socket():  # of a server before; anything else stays
                Path(path).unlink()
            server: socketserver.BaseServer = _UnixServer(path, handler)
        else:
            server = _Server(_loopback(listen), handler)
    except OSError as error:
        raise Failure(f"cannot listen on {listen}: {reason(error)}") from None
    with server:
        server.serve_forever()


def _loopback(listen: str) -> tuple[str, int]:
    """Only this host may ask: what a policy denied, and whom, is nobody else's. Raises Failure."""
    address, _, port = listen.rpartition(":")
    try:
        if port.isdecimal() and int(port) < 1 << 16 and ipaddress.ip_address(address.strip("[]")).is_loopback:
            return address.strip("[]"), int(port)
    except ValueError:
        pass
    raise Failure(f"--listen: {listen!r}: give 127.0.0.1:PORT, [::1]:PORT or unix:PATH")


class _Collector:
    def __init__(self, host: Host) -> None:
        self._host = host

    def collect(self) -> Iterator[Metric]:
        """The metrics as of now."""
        tally = counted(self._host)
        yield from _counters(tally)
        yield from _state(self._host)
        yield from _fleet(self._host)


def counted(host: Host) -> Tally:
    """What was counted on this host up to now. Raises Failure."""
    path = host.state / _KEPT
    with files.locked(host.state):  # two at once would count a call twice
        kept = record_position.read(path)
        try:
            tally = Tally.unpacked(kept["tally"])
            position = record_position.unpacked(kept["ends"])
        except (KeyError, TypeError, ValueError, AttributeError):
            tally, position = Tally(), Position()
        for call in position.new_calls(trace.directory_of(host)):
            tally.add(call)
        files.replace(path, json.dumps({"tally": tally.packed(), "ends": position.ends}), 0o600)
    return tally


def _counters(tally: Tally) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily as Counter

    calls = Counter("hookrun_calls", "Calls of hookrun.", labels=("command", "engine", "result"))
    decisions = Counter(
        "hookrun_policy_decisions", "What policies did about calls, or would have done.", labels=("policy", "effect")
    )
    failures = Counter("hookrun_hook_failures", "Hooks that failed.", labels=("hook", "stage"))
    for counter, counts in ((calls, tally.calls), (decisions, tally.decisions), (failures, tally.hook_failures)):
        for key, count in sorted(counts.items()):
            counter.add_metric(key, count)
        yield counter
    yield _histogram("hookrun_call_duration_seconds", "How long calls took.", ("command", "engine"), tally.durations)
    yield _histogram("hookrun_hook_duration_seconds", "How long hooks took.", ("hook", "stage"), tally.hooks)


def _histogram(name: str, help_text: str, labels: Key, values: dict[Key, Histogram]) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(name, help_text, labels=labels)
    for key, one in sorted(values.items()):
        family.add_metric(key, one.buckets(), one.total)
    return family


def _gauge(name: str, help_text: str, rows: Iterable[tuple[Key, float]], labels: Key = ()) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, help_text, labels=labels)
    for key, value in rows:
        family.add_metric(key, value)
    return family


def _state(host: Host) -> Iterator[Metric]:
    yield _gauge("hookrun_build_info", "The version of hookrun.", [((VERSION,), 1)], ("version",))
    entry = store.running_entry(host)
    applied = [((), entry.applied)] if entry else []
    info = [((str(entry.number), entry.digest), 1.0)] if entry else []
    yield _gauge("hookrun_snapshot_info", "The snapshot in force.", info, ("number", "digest"))
    yield _gauge("hookrun_snapshot_applied_timestamp_seconds", "When the snapshot was put in force.", applied)
    yield _gauge("hookrun_heap_usable", "Whether calls start warm.", [((), float(not program.problem(host.state)))])
    size = sum(path.stat().st_size for path in trace_index.record_files(trace.directory_of(host)))
    yield _gauge("hookrun_record_size_bytes", "The size of the record without the configs.", [((), size)])


def _fleet(host: Host) -> Iterator[Metric]:
    """How the host stands to its fleet; without samples where it follows none."""
    found = standing.read(host)
    held = found.held
    labels = ("bundle", "version")
    names = [*found.refused] or [""]
    yield _gauge(
        "hookrun_fleet_bundle_info", "The bundle in force.", [((held.name, held.version), 1)] if held else [], labels
    )
    wanted = [((held.name if held else names[0], found.wanted), 1.0)] if found.wanted else []
    yield _gauge("hookrun_fleet_wanted_info", "The bundle that the fleet has for this host.", wanted, labels)
    refused = [
        ((name, version, why), 1.0) for name, versions in found.refused.items() for version, why in versions.items()
    ]
    yield _gauge(
        "hookrun_fleet_refused_info", "Versions that this host refused, and why.", refused, (*labels, "reason")
    )
    times = {
        "hookrun_fleet_bundle_applied_timestamp_seconds": (
            "When the bundle was put in force.",
            held.since if held else 0,
        ),
        "hookrun_fleet_reached_timestamp_seconds": ("When the fleet was last reached.", found.reached),
        "hookrun_fleet_tried_timestamp_seconds": ("When the fleet was last asked.", found.tried),
        "hookrun_fleet_expiry_timestamp_seconds": ("When the fleet's metadata expires.", found.expires),
    }
    for name, (help_text, value) in times.items():
        yield _gauge(name, help_text, [((), value)] if value else [])
    problem = [((), float(bool(found.problem)))] if found.tried else []
    yield _gauge("hookrun_fleet_problem", "Whether the last try to follow the fleet failed.", problem)
