"""Intel RDT on a resctrl tree made of plain files, since no machine here has one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hookrun.runtime.cgroups import rdt
from hookrun.runtime.errors import Failure
from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime

ID = "c1"


@pytest.fixture(name="tree")
def fixture_tree(tmp_path: Path) -> Path:
    files = {
        "info/L3/cbm_mask": "fffff",
        "info/L3/min_cbm_bits": "1",
        "info/L3/num_closids": "16",
        "info/MB/bandwidth_gran": "10",
        "info/MB/delay_linear": "1",
        "info/MB/min_bandwidth": "10",
        "info/MB/num_closids": "8",
        "info/L3_MON/mon_features": "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes",
        "info/last_cmd_status": "ok",
        "schemata": "    L3:0=fffff;1=fffff\n    MB:0=100;1=100",
    }
    for name, text in files.items():
        write(tmp_path / name, text)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def group(tree: Path, name: str = ID, *, monitored: bool = False) -> Path:
    """A group's directory with the files that the kernel would put there."""
    for place in (tree / name, *([tree / name / "mon_groups" / ID] if monitored else [])):
        write(place / "tasks", "")
        for domain in ("mon_L3_00", "mon_L3_01"):
            for number, counter in enumerate(("llc_occupancy", "mbm_total_bytes", "mbm_local_bytes")):
                write(place / "mon_data" / domain / counter, str(number + 10 * (place.name == ID and monitored)))
    write(tree / name / "schemata", "    L3:0=fffff;1=fffff\n    MB:0=100;1=100")
    return tree / name


def config(**wanted: Any) -> Any:
    return {"linux": {"intelRdt": wanted}}


def test_schemata_are_written_and_the_process_is_in(tree: Path) -> None:
    place = group(tree)
    wanted = config(l3CacheSchema="L3:0=f", memBwSchema="MB:0=20", schemata=["L2:0=3"])
    assert rdt.join(wanted, ID, 4711, str(tree)) == (str(place), False)
    assert (place / "schemata").read_text().startswith("L3:0=f\nMB:0=20\nL2:0=3\n")
    assert (place / "tasks").read_text().startswith("4711")


def test_the_group_that_is_named(tree: Path) -> None:
    place = group(tree, "gold")
    before = (place / "schemata").read_text()
    assert rdt.join(config(closID="gold"), ID, 4711, str(tree)) == (str(place), False)
    assert (place / "schemata").read_text() == before


def test_the_root_as_the_group(tree: Path) -> None:
    write(tree / "tasks", "")
    assert rdt.join(config(closID="/"), ID, 4711, str(tree)) == (str(tree), False)
    assert (tree / "tasks").read_text().startswith("4711")


def test_a_named_group_without_schemata_must_be_there(tree: Path) -> None:
    with pytest.raises(Failure, match=r"must be pre-created when schemata, l3CacheSchema and memBwSchema are empty"):
        rdt.join(config(closID="gold"), ID, 4711, str(tree))
    assert not (tree / "gold").exists()


@pytest.mark.parametrize("switch", ["enableMonitoring", "enableCMT", "enableMBM"])
def test_a_monitoring_group_of_its_own(switch: str, tree: Path) -> None:
    place = group(tree, monitored=True)
    rdt.join(config(**{switch: True}), ID, 4711, str(tree))
    assert (place / "mon_groups" / ID / "tasks").read_text().startswith("4711")


def test_a_group_that_was_made_goes_when_joining_fails(tree: Path) -> None:
    """A new directory has no `tasks` in this tree, as the kernel's would."""
    with pytest.raises(Failure, match=r"intelrdt: unable to add pid 4711: .*, last_cmd_status: ok"):
        rdt.join(config(l3CacheSchema="L3:0=f"), ID, 4711, str(tree))
    assert not (tree / ID).exists()


@pytest.mark.parametrize(
    ("wanted", "missing", "message"),
    [
        ({"closID": ".."}, "", "invalid intelRdt.ClosID"),
        ({"closID": "a/b"}, "", "invalid intelRdt.ClosID"),
        ({"l3CacheSchema": "L3:0=f"}, "L3", "Intel RDT/CAT is not enabled"),
        ({"memBwSchema": "MB:0=9"}, "MB", "Intel RDT/MBA is not enabled"),
    ],
)
def test_what_can_not_be_had(wanted: dict[str, Any], missing: str, message: str, tree: Path) -> None:
    if missing:
        (tree / "info" / missing).rename(tree / "gone")
    with pytest.raises(Failure, match=message):
        rdt.join(config(**wanted), ID, 4711, str(tree))


def test_the_kernels_explanation(tree: Path) -> None:
    place = group(tree)
    (place / "schemata").unlink()
    write(tree / "info/last_cmd_status", "Mask f0f has non-consecutive 1-bits")
    with pytest.raises(Failure, match=r'unable to write "L3:0=f0f\\n": .*, last_cmd_status: Mask f0f has'):
        rdt.set_schemata(str(place), ["L3:0=f0f"])


def test_stats(tree: Path) -> None:
    place = group(tree)
    write(place / "schemata", "    L3:0=f;1=f0\n    MB:0=20;1=70")
    assert rdt.stats(str(place), ID) == {
        "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 16},
        "l3_cache_schema_root": "L3:0=fffff;1=fffff",
        "l3_cache_schema": "L3:0=f;1=f0",
        "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
        "mem_bw_schema_root": "MB:0=100;1=100",
        "mem_bw_schema": "MB:0=20;1=70",
        "schemata": ["L3:0=f;1=f0", "    MB:0=20;1=70"],
        "mbm_stats": [{"mbm_total_bytes": 1, "mbm_local_bytes": 2}] * 2,
        "cmt_stats": [{"llc_occupancy": 0}] * 2,
    }


def test_stats_of_the_containers_own_monitoring_group(tree: Path) -> None:
    place = group(tree, "gold", monitored=True)
    assert rdt.stats(str(place), ID)["cmt_stats"] == [{"llc_occupancy": 10}] * 2


def test_stats_of_less_capable_hardware(tree: Path) -> None:
    place = group(tree)
    write(tree / "info/L3_MON/mon_features", "llc_occupancy")
    (tree / "info/MB").rename(tree / "gone")
    assert set(rdt.stats(str(place), ID)) == {
        "l3_cache_info",
        "l3_cache_schema_root",
        "l3_cache_schema",
        "schemata",
        "cmt_stats",
    }


def test_only_what_was_made_is_removed(tmp_path: Path) -> None:
    """Plain directories, which unlike resctrl's must be empty to go."""
    own, shared = tmp_path / ID, tmp_path / "gold"
    own.mkdir()
    (shared / "mon_groups" / ID).mkdir(parents=True)
    rdt.destroy({"id": ID, "intel_rdt_path": str(own), "intel_rdt_created": True})
    rdt.destroy({"id": ID, "intel_rdt_path": str(shared)})
    assert not own.exists()
    assert not (shared / "mon_groups" / ID).exists()
    assert shared.exists()
    rdt.destroy({"id": ID, "intel_rdt_path": str(own), "intel_rdt_created": True})
    rdt.destroy({"id": ID, "intel_rdt_path": ""})


def test_a_host_without_rdt_refuses_the_config(bundle: Bundle, either: Runtime) -> None:
    if rdt.find_root():
        pytest.skip("this host has resctrl")
    bundle.linux["intelRdt"] = {"l3CacheSchema": "L3:0=f"}
    bundle.write()
    result = either.run(bundle.path)
    assert result.status == 1
    assert "is specified in config, but Intel RDT" in result.err
    assert "is not enabled" in result.err


@pytest.mark.parametrize("monitored", [False, True])
def test_exec_is_in_the_containers_group(tree: Path, bundle: Bundle, hookrun: Runtime, monitored: bool) -> None:
    container = hookrun.run_detached(bundle.command("sleep", "1000").path)
    place = group(tree, container)
    places = [place]
    if monitored:
        places.append(place / "mon_groups" / container)
        write(places[1] / "tasks", "")
    state = hookrun.root / container / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "intel_rdt_path": str(place)}))
    pid_file = bundle.path / "pid"
    words = ("exec", "--detach", "--pid-file", str(pid_file), container, "sleep", "1000")
    assert hookrun.call_leaving(*words, output=bundle.path / "out").status == 0
    assert [(each / "tasks").read_text().strip() for each in places] == [pid_file.read_text()] * len(places)
