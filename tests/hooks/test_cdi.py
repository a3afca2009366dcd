"""CDI devices: a case for each rule of SPEC.md and for each kind of edit."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hookrun.hooks import cdi, cdi_spec
from hookrun.hooks.errors import HookError
from hookrun.wrapper.decision.injection import Files


class Host:
    """CDI directories of the test's own, by rising priority: `static`, `dynamic`."""

    def __init__(self, path: Path) -> None:
        self.directories = [str(path / "static"), str(path / "dynamic")]
        for directory in self.directories:
            os.mkdir(directory)

    def write(self, name: str, value: Any, place: int = 0) -> str:
        path = Path(self.directories[place]) / name
        path.write_text(value if isinstance(value, str) else json.dumps(value, indent=1))
        return str(path)

    def spec(self, name: str, device: str = "a", place: int = 0, kind: str = "vendor.com/gpu", **edits: Any) -> str:
        edits = edits or {"env": [f"FROM={name}"]}
        return self.write(name, spec({"name": device, "containerEdits": edits}, kind=kind), place)

    def inject(self, config: dict[str, Any], environment: str = "") -> tuple[dict[str, Any], list[dict[str, Any]]]:
        libraries = str(Path(__import__("ruamel.yaml").yaml.__file__).parents[2])
        settings = {"directories": self.directories, "environment": environment, "libraries": libraries}
        return cdi.injected(config, settings, Files(libraries).read)

    def changed(self, *devices: str, **config: Any) -> dict[str, Any]:
        names = [name if "=" in name else f"vendor.com/gpu={name}" for name in devices or ("a",)]
        changed, _ = self.inject({**config, "annotations": {"cdi.k8s.io/test": ",".join(names)}})
        assert changed.pop("annotations")
        return changed

    def refused(self, *devices: str) -> str:
        with pytest.raises(HookError) as problem:
            self.changed(*devices)
        return str(problem.value)


def spec(*devices: dict[str, Any], version: str = "1.1.0", kind: str = "vendor.com/gpu", **more: Any) -> dict[str, Any]:
    return {"cdiVersion": version, "kind": kind, "devices": list(devices), **more}


def device(name: str = "a", **edits: Any) -> dict[str, Any]:
    return {"name": name, "containerEdits": edits or {"env": ["A=1"]}}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def env(config: dict[str, Any]) -> list[str]:
    found: list[str] = config["process"]["env"]
    return found


# Asking for devices.


def test_nobody_asks(host: Host) -> None:
    host.write("broken.json", "{")
    config = {"annotations": {"other": "vendor.com/gpu=a"}, "process": {"env": ["CDI=vendor.com/gpu=a"]}}
    assert host.inject(config) == (config, [])


def test_annotations_ask(host: Host) -> None:
    host.write("s.json", spec(device("a", env=["A=1"]), device("b", env=["B=1"]), device("c", env=["C=1"])))
    annotations = {"cdi.k8s.io/x": "vendor.com/gpu=b", "cdi.k8s.io/y": "vendor.com/gpu=a,vendor.com/gpu=b"}
    changed, _ = host.inject({"annotations": annotations})
    assert env(changed) == ["B=1", "A=1"]


def test_a_variable_of_the_settings_asks(host: Host) -> None:
    host.spec("s.json")
    config = {"process": {"env": ["CDI=vendor.com/gpu=a", "OTHER=vendor.com/gpu=b"]}}
    assert env(host.inject(config, "CDI")[0])[2:] == ["FROM=s.json"]
    assert host.inject({"process": {"env": ["CDI="]}}, "CDI")[1] == []


def test_the_config_that_came_in_stays_as_it_is(host: Host) -> None:
    host.spec("s.json", mounts=[{"hostPath": "/a", "containerPath": "/a"}], env=["A=1"])
    config = {"annotations": {"cdi.k8s.io/x": "vendor.com/gpu=a"}, "process": {"env": ["A=0"]}, "mounts": []}
    before = json.dumps(config)
    assert host.inject(config)[0] != config
    assert json.dumps(config) == before


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "vendor.com=a",
        "vendor.com/gpu",
        "vendor.com/gpu=",
        "/gpu=a",
        "=a",
        "1vendor/gpu=a",
        "v/1gpu=a",
        "v/g=_a",
        "v/g=a_",
        "v/g=a b",
        "v-/g=a",
        "v/g-=a",
        "v/g=é",
        "v/g=a=b",
    ],
)
def test_names_that_are_none(host: Host, name: str) -> None:
    with pytest.raises(HookError, match="invalid CDI device name"):
        host.inject({"annotations": {"cdi.k8s.io/x": name}})


@pytest.mark.parametrize("name", ["v/g=a", "vendor.com/gpu=0", "a.b-c_d/e.f-g_h=0:1.a-b_c", "V1/G1=A"])
def test_names_that_are_some(name: str) -> None:
    assert cdi_spec.device_problem(name) == ""


# Finding devices.


def test_a_kind_that_is_not_there(host: Host) -> None:
    assert host.refused("a") == "unresolvable CDI devices vendor.com/gpu=a: no spec of kind vendor.com/gpu"


def test_a_device_that_is_not_there(host: Host) -> None:
    host.spec("s.json")
    assert host.refused("a", "b") == "unresolvable CDI devices vendor.com/gpu=b: vendor.com/gpu has no such device"


def test_a_later_directory_wins(host: Host) -> None:
    host.spec("z.json", place=0)
    host.spec("a.json", place=1)
    assert env(host.changed()) == ["FROM=a.json"]


def test_two_files_of_one_directory_are_in_conflict(host: Host) -> None:
    first, second = host.spec("1.json"), host.spec("2.json")
    host.spec("3.json", device="b")
    assert (
        host.refused("a")
        == f"unresolvable CDI devices vendor.com/gpu=a: vendor.com/gpu=a is defined by {first} and by {second}"
    )
    assert env(host.changed("b")) == ["FROM=3.json"]


def test_a_later_directory_resolves_a_conflict(host: Host) -> None:
    host.spec("1.json")
    host.spec("2.json")
    host.spec("3.json", place=1)
    assert env(host.changed()) == ["FROM=3.json"]


def test_a_bad_spec_is_no_fault_until_a_device_is_missing(host: Host) -> None:
    host.spec("good.json")
    bad = host.write("bad.json", spec(version="9.9.9"))
    assert env(host.changed()) == ["FROM=good.json"]
    assert f"{bad}: cdiVersion: invalid version '9.9.9'" in host.refused("b")


def test_files_of_other_names_are_none(host: Host) -> None:
    host.spec("s.json")
    host.spec("s.yml")
    host.spec("s.json.tmp")
    os.mkdir(f"{host.directories[0]}/d.json")
    assert env(host.changed()) == ["FROM=s.json"]


def test_yaml(host: Host) -> None:
    path = host.write(
        "s.yaml",
        "cdiVersion: 0.6.0\nkind: vendor.com/gpu\ndevices:\n- name: '0'\n  containerEdits:\n    env: [A=1]\n    hooks:\n"
        "    - hookName: createContainer\n      path: /bin/a\n    - path: /bin/b\n      hookName: poststop\n",
    )
    changed, injected = host.inject({"annotations": {"cdi.k8s.io/x": "vendor.com/gpu=0"}})
    assert env(changed) == ["A=1"]
    assert [(one["file"], one["line"]) for one in injected] == [(path, 8), (path, 11)]


def test_yaml_as_go_reads_it(host: Host) -> None:
    """Numbers and truths where strings are wanted, octal numbers (the right values are Podman 4.3.1's)."""
    host.write(
        "s.yaml",
        "cdiVersion: 0.6.0\nkind: vendor.com/gpu\ndevices:\n- name: 0\n  containerEdits:\n    deviceNodes:\n"
        "    - {path: /dev/x, type: c, major: 1, minor: 5, fileMode: 0660}\n"
        "    hooks:\n    - {hookName: createContainer, path: /bin/a, args: [x, --mode, 755, yes, 1.5]}\n",
    )
    changed = host.changed("0")
    assert [device["fileMode"] for device in changed["linux"]["devices"]] == [0o660]
    (hook,) = changed["hooks"]["createContainer"]
    assert hook["args"] == ["x", "--mode", "755", "true", "1.5"]


def test_yaml_that_is_none(host: Host) -> None:
    path = host.write("s.yaml", "a: [")
    assert f"{path}: while parsing" in host.refused("a")


def test_a_spec_that_others_can_write_is_not_used(host: Host) -> None:
    os.chmod(host.spec("s.json"), 0o666)
    assert "users other than root can write it" in host.refused("a")


# What a spec must look like.


def problem_of(value: Any) -> str:
    try:
        cdi_spec.check(value)
    except HookError as problem:
        return str(problem)
    return ""


@pytest.mark.parametrize("version", ["0.3.0", "v0.5.0", "0.8.0", "1.0.0", "1.1.0"])
def test_versions(version: str) -> None:
    assert problem_of(spec(device(), version=version)) == ""


@pytest.mark.parametrize("version", ["", "0.9.0", "1.1", "2.0.0", "latest"])
def test_versions_that_are_none(version: str) -> None:
    assert "invalid version" in problem_of(spec(device(), version=version))


NEW_FIELDS = [
    ("0.4.0", spec(device(mounts=[{"hostPath": "/a", "containerPath": "/a", "type": "bind"}]))),
    ("0.5.0", spec(device(deviceNodes=[{"path": "/dev/a", "hostPath": "/dev/b"}]))),
    ("0.5.0", spec(device("0a"))),
    ("0.6.0", spec(device(), annotations={"a": "b"})),
    ("0.6.0", spec({**device(), "annotations": {"a": "b"}})),
    ("0.6.0", spec(device(), kind="vendor.com/gpu.x")),
    ("0.7.0", spec(device(additionalGids=[1]))),
    ("0.7.0", spec(device(), containerEdits={"additionalGids": [1]})),
    ("0.7.0", spec(device(intelRdt={"closID": "a"}))),
    ("1.1.0", spec(device(intelRdt={"schemata": []}))),
    ("1.1.0", spec(device(intelRdt={"enableMonitoring": True}))),
    ("1.1.0", spec(device(netDevices=[{"hostInterfaceName": "a", "name": "b"}]))),
]


@pytest.mark.parametrize(("version", "value"), NEW_FIELDS)
def test_a_field_needs_the_version_in_which_it_came(version: str, value: dict[str, Any]) -> None:
    before = cdi_spec.VERSIONS[cdi_spec.VERSIONS.index(version) - 1]
    assert problem_of({**value, "cdiVersion": version}) == ""
    assert problem_of({**value, "cdiVersion": before}) == f"the spec version must be at least v{version}"


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "foo",
        "vendor.com/",
        "vendor.com/foo/",
        "vendor.com/foo/bar",
        "/foo",
        "vendor.com/-foo",
        "vendor.com/foo_",
        ".com/foo",
        "vendor.com/" + "f" * 64,
        "v" * 254 + "/foo",
    ],
)
def test_kinds_that_are_none(kind: str) -> None:
    assert problem_of(spec(device(), kind=kind)).startswith("kind: ")


@pytest.mark.parametrize("kind", ["vendor.com/foo", "foo.bar.baz/foo-bar123.B_az", "v/f"])
def test_kinds_that_are_some(kind: str) -> None:
    assert problem_of(spec(device(), kind=kind)) == ""


BAD: list[tuple[Any, str]] = [
    (None, "no CDI spec"),
    ([], "a spec must be an object"),
    ({}, "no CDI spec"),
    (spec(), "at least one device"),
    (spec(device(), device()), "duplicate device name"),
    (spec({"name": "a"}), "empty containerEdits"),
    (spec({"name": "a", "containerEdits": {"env": []}}), "empty containerEdits"),
    (spec(device("-a")), "invalid character"),
    (spec(device("")), "empty name"),
    (spec(device(), extra=1), "no field 'extra'"),
    (spec(device(envs=[])), "devices[0].containerEdits has no field 'envs'"),
    (spec(device(), annotations={"a": 1}), "annotations.a must be a string"),
    (spec(device(), devices={}), "devices must be a list"),
    (spec(device(env=["A"])), "invalid environment variable 'A'"),
    (spec(device(env=["=A"])), "invalid environment variable '=A'"),
    (spec(device(env=[None])), "is empty"),
    (spec(device(deviceNodes=[{"hostPath": "/a"}])), "needs a path"),
    (spec(device(deviceNodes=[{"path": "/a", "type": "x"}])), "invalid type 'x'"),
    (spec(device(deviceNodes=[{"path": "/a", "permissions": "rx"}])), "invalid permissions 'rx'"),
    (spec(device(deviceNodes=[{"path": "/a", "major": "1"}])), "must be a whole number"),
    (spec(device(mounts=[{"hostPath": "/a"}])), "needs hostPath and containerPath"),
    (spec(device(hooks=[{"hookName": "nope", "path": "/a"}])), "invalid hook name 'nope'"),
    (spec(device(hooks=[{"hookName": "poststop", "path": "a"}])), "path must be absolute"),
    (spec(device(hooks=[{"hookName": "poststop", "path": "/a", "env": ["x"]}])), "invalid environment variable"),
    (spec(device(hooks=[{"hookName": "poststop", "path": "/a", "timeout": 0}])), "greater than zero"),
    (spec(device(intelRdt={"closID": "a/b"})), "invalid closID"),
    (spec(device(intelRdt={"closID": ".."})), "invalid closID"),
    (spec(device(intelRdt={"enableMonitoring": 1})), "must be true or false"),
    (spec(device(netDevices=[{"name": "a"}])), "needs hostInterfaceName"),
    (spec(device(netDevices=[{"hostInterfaceName": "a"}])), "needs name"),
    (
        spec(device(netDevices=[{"hostInterfaceName": "a", "name": "b"}, {"hostInterfaceName": "a", "name": "c"}])),
        "duplicate hostInterfaceName",
    ),
    (
        spec(device(netDevices=[{"hostInterfaceName": "a", "name": "b"}, {"hostInterfaceName": "c", "name": "b"}])),
        "duplicate name",
    ),
    (spec(device(), containerEdits={"env": ["A"]}), "containerEdits: invalid environment variable"),
    (spec(device(additionalGids=[-1])), "out of range"),
]


@pytest.mark.parametrize(("value", "text"), BAD)
def test_specs_that_are_refused(value: Any, text: str) -> None:
    assert text in problem_of(value)


# containerEdits.


def test_the_specs_own_edits_come_once_and_before_the_devices(host: Host) -> None:
    host.write(
        "s.json", spec(device("a", env=["A=1", "X=a"]), device("b", env=["B=1"]), containerEdits={"env": ["X=spec"]})
    )
    assert env(host.changed("a", "b")) == ["X=a", "A=1", "B=1"]
    assert env(host.changed("b")) == ["X=spec", "B=1"]


def test_env_takes_the_place_of_what_is_there(host: Host) -> None:
    host.spec("s.json", env=["A=2", "B=3"])
    assert env(host.changed(process={"env": ["A=1", "C=1"]})) == ["A=2", "C=1", "B=3"]


def test_a_device_node_is_completed_from_the_host(host: Host) -> None:
    host.spec(
        "s.json",
        deviceNodes=[{"path": "/dev/null"}, {"path": "/dev/z", "hostPath": "/dev/zero", "permissions": "r", "uid": 5}],
    )
    status = os.stat("/dev/null")
    linux = host.changed()["linux"]
    assert linux["devices"][0] == {
        "path": "/dev/null",
        "type": "c",
        "major": 1,
        "minor": 3,
        "fileMode": status.st_mode & 0o7777,
    }
    assert linux["devices"][1]["path"] == "/dev/z"
    assert (linux["devices"][1]["minor"], linux["devices"][1]["uid"]) == (5, 5)
    assert linux["resources"]["devices"] == [
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
        {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "r"},
    ]


def test_a_device_node_belongs_to_the_containers_user(host: Host) -> None:
    host.spec("s.json", deviceNodes=[{"path": "/dev/null", "gid": 7}, {"path": "/dev/zero"}])
    first, second = host.changed(process={"user": {"uid": 1000, "gid": 1001}})["linux"]["devices"]
    assert (first["uid"], first["gid"], second["uid"], second["gid"]) == (1000, 7, 1000, 1001)


def test_a_complete_device_node_need_not_be_on_the_host(host: Host) -> None:
    node = {"path": "/dev/nosuch", "type": "b", "major": 240, "minor": 1, "fileMode": 0o600}
    host.spec("s.json", deviceNodes=[node])
    assert host.changed()["linux"]["devices"] == [node]


def test_no_permissions_at_all(host: Host) -> None:
    host.spec("s.json", deviceNodes=[{"path": "/dev/null", "permissions": "none"}])
    assert host.changed()["linux"]["resources"]["devices"] == [{"allow": True, "type": "c", "major": 1, "minor": 3}]


def test_a_device_on_the_same_path_is_replaced(host: Host) -> None:
    host.spec("s.json", deviceNodes=[{"path": "/dev/null"}])
    linux = {"devices": [{"path": "/dev/null", "type": "c", "major": 9, "minor": 9}, {"path": "/dev/x"}]}
    assert [(one["path"], one.get("major")) for one in host.changed(linux=linux)["linux"]["devices"]] == [
        ("/dev/x", None),
        ("/dev/null", 1),
    ]


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ({"path": "/dev/nosuch"}, "/dev/nosuch: No such file"),
        ({"path": "/dev/nosuch", "type": "c"}, "/dev/nosuch: No such file"),
        ({"path": "/etc/passwd"}, "not a device node"),
        ({"path": "/dev/null", "type": "b"}, "it is of type c, the spec says b"),
    ],
)
def test_a_device_that_the_host_does_not_have(host: Host, node: dict[str, Any], text: str) -> None:
    host.spec("s.json", deviceNodes=[node])
    assert text in host.refused("a")


def test_a_fifo_has_no_numbers_and_no_rule(host: Host, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    host.spec("s.json", deviceNodes=[{"path": str(tmp_path / "fifo")}])
    linux = host.changed()["linux"]
    assert linux["devices"][0]["type"] == "p"
    assert "resources" not in linux


def test_mounts_replace_and_go_by_depth(host: Host) -> None:
    mount = {"hostPath": "/h", "containerPath": "/b", "options": ["ro", "bind"], "type": "bind"}
    host.spec("s.json", mounts=[{"hostPath": "/h", "containerPath": "/a/b/c"}, mount])
    mounts = host.changed(
        mounts=[{"destination": "/x/y"}, {"destination": "/b", "source": "/old"}, {"destination": "/z/"}]
    )["mounts"]
    assert [one["destination"] for one in mounts] == ["/z/", "/b", "/x/y", "/a/b/c"]
    assert mounts[1] == {"destination": "/b", "source": "/h", "type": "bind", "options": ["ro", "bind"]}
    assert mounts[3] == {"destination": "/a/b/c", "source": "/h"}


@pytest.mark.parametrize(
    ("mount", "options"),
    [
        ({"type": "bind"}, ["idmap"]),
        ({"options": ["bind"]}, ["bind", "idmap"]),
        ({"options": ["rbind"], "type": "bind"}, ["rbind", "ridmap"]),
        ({"options": ["rbind", "idmap"]}, ["rbind", "idmap"]),
        ({"type": "tmpfs"}, None),
    ],
)
def test_bind_mounts_follow_a_user_namespace(host: Host, mount: dict[str, Any], options: list[str] | None) -> None:
    host.spec("s.json", mounts=[{"hostPath": "/h", "containerPath": "/b", **mount}])
    (changed,) = host.changed(linux={"namespaces": [{"type": "user"}]})["mounts"]
    assert changed.get("options") == options


def test_hooks_of_every_stage(host: Host) -> None:
    stages = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    hooks = [
        {"hookName": stage, "path": f"/{stage}", "args": ["a", "b"], "env": ["A=1"], "timeout": 3} for stage in stages
    ]
    path = host.write(
        "s.json", spec(device("a", hooks=hooks), containerEdits={"hooks": [{"hookName": "poststop", "path": "/x"}]})
    )
    changed, injected = host.inject(
        {"annotations": {"cdi.k8s.io/x": "vendor.com/gpu=a"}, "hooks": {"poststop": [{"path": "/e"}]}}
    )
    for stage in stages[:-1]:
        assert changed["hooks"][stage] == [{"path": f"/{stage}", "args": ["a", "b"], "env": ["A=1"], "timeout": 3}]
    assert [hook["path"] for hook in changed["hooks"]["poststop"]] == ["/e", "/x", "/poststop"]
    assert {one["source"] for one in injected} == {"cdi vendor.com/gpu"}
    lines = Path(path).read_text().splitlines()
    for one in injected:
        assert f'"hookName": "{one["stage"]}"' in lines[one["line"] - 1]
        assert f'"path": "{one["path"]}"' in lines[one["line"]]


def test_additional_groups(host: Host) -> None:
    host.spec("s.json", additionalGids=[0, 5, 6, 5])
    assert host.changed(process={"user": {"additionalGids": [6]}})["process"]["user"] == {"additionalGids": [6, 5]}


def test_only_group_zero_changes_nothing(host: Host) -> None:
    host.spec("s.json", additionalGids=[0])
    assert host.changed() == {}


def test_intel_rdt_of_the_last_device_counts(host: Host) -> None:
    full = {
        "closID": "b",
        "l3CacheSchema": "L3:0=f",
        "memBwSchema": "MB:0=1",
        "schemata": ["x"],
        "enableMonitoring": True,
    }
    host.write("s.json", spec(device("a", intelRdt={"closID": "a"}), device("b", intelRdt={**full, "memBwSchema": ""})))
    del full["memBwSchema"]
    assert host.changed("a", "b")["linux"]["intelRdt"] == full


def test_network_devices(host: Host) -> None:
    host.spec("s.json", netDevices=[{"hostInterfaceName": "eth9", "name": "net1"}])
    linux = {"netDevices": {"eth1": {"name": "x"}}}
    assert host.changed(linux=linux)["linux"]["netDevices"] == {"eth1": {"name": "x"}, "eth9": {"name": "net1"}}


def test_a_second_time_changes_nothing(host: Host) -> None:
    hooks = [{"hookName": "poststop", "path": "/a"}]
    mounts = [{"hostPath": "/h", "containerPath": "/b"}]
    host.spec(
        "s.json", env=["A=1"], deviceNodes=[{"path": "/dev/null"}], mounts=mounts, hooks=hooks, additionalGids=[5]
    )
    config = {"annotations": {"cdi.k8s.io/x": "vendor.com/gpu=a"}}
    once, _ = host.inject(config)
    assert host.inject(once) == (once, [])


def test_requested_names_come_once() -> None:
    config = {
        "annotations": {"cdi.k8s.io/a": "v/g=1", "cdi.k8s.io/b": "v/g=1,v/g=2"},
        "process": {"env": ["X=v/g=2,v/g=3"]},
    }
    assert cdi.requested(config, "X") == ["v/g=1", "v/g=2", "v/g=3"]
