"""Conditions on a call: trees of all, any and none over what is known of it.

A condition is ("all" | "any" | "none", (condition, …)), ("is", subject, tests) or ("mount", selector, see `mounts`). A
subject is a tuple: a fact's name; ("field", token, …); ("annotation" | "label", key); or ("annotationLike" |
"labelLike", regular expression of the key).
"""

from __future__ import annotations

from typing import Any

from hookrun.policies import conditions, mounts, sources
from hookrun.policies.pointer import ABSENT, ANY, reach
from hookrun.policies.policy import Policy

Subject = tuple[Any, ...]
Condition = tuple[Any, ...]

# Where an engine puts what Kubernetes knows of a container. CRI-O lets a pod's annotations replace its own, but sets
# the kubelet's labels after them; its images are told by its storage.
ANNOTATIONS_OF = {
    "kubernetes": {
        "image": "io.kubernetes.cri.image-name",
        "namespace": "io.kubernetes.cri.sandbox-namespace",
        "pod": "io.kubernetes.cri.sandbox-name",
        "container": "io.kubernetes.cri.container-name",
    },
    "cri-o": {
        "namespace": "io.kubernetes.pod.namespace",
        "pod": "io.kubernetes.pod.name",
        "container": "io.kubernetes.container.name",
    },
}
FACTS = ("engine", "command", "runtime", "image", "namespace", "pod", "container")
TELL_IMAGES = ("docker", "podman", "kubernetes", "cri-o")
TELL_LABELS = ("docker", "podman", "cri-o")

# Annotations that one engine sets; from another they are what anybody wrote on a command line.
_OF_KUBERNETES = "io.kubernetes."
_RESERVED = {"io.kubernetes.cri.": "kubernetes", "io.kubernetes.cri-o.": "cri-o"}


class View:
    """What conditions look at: one call and one state of its config. Each value is looked up once.

    `invocation` has "engine", "command", "runtime", "container" (its id), "labels" and "image"; "look", a
    `sources.Look`, "land", a `sources.Land`, and "is_whole", false where what the config leaves out says nothing;
    "mask" and "time" may be there, see `messages` and `exceptions`; and "form", which says what is wrong with the form
    of the config that came in, "" if nothing is.
    """

    __slots__ = ("_known", "_mounts", "config", "invocation")

    def __init__(self, config: dict[str, Any], invocation: dict[str, Any]) -> None:
        self.config = config
        self.invocation = invocation
        self._known: dict[Subject, list[Any]] = {}
        self._mounts: list[dict[str, Any]] | None = None

    def values(self, subject: Subject) -> list[Any]:
        """The values of a subject; ABSENT where it has none."""
        found = self._known.get(subject)
        if found is None:
            found = self._known[subject] = self._looked_up(subject)
        return found

    def _looked_up(self, subject: Subject) -> list[Any]:
        kind = subject[0]
        if kind == "field":
            return self._reached(subject[1:])
        if kind == "annotation":
            return [self._annotations().get(subject[1], ABSENT)]
        if kind == "label":
            return [self.invocation["labels"].get(subject[1], ABSENT)]
        if kind == "annotationLike":
            return _of_keys_like(self._annotations(), subject[1])
        if kind == "labelLike":
            return _of_keys_like(self.invocation["labels"], subject[1])
        return [self._fact(kind) or ABSENT]

    def mounts(self) -> list[dict[str, Any]]:
        """The mounts with what their sources are, the rootfs last."""
        if self._mounts is None:
            self._mounts = sources.mounts_of(self.config, self.invocation)
        return self._mounts

    def _reached(self, path: tuple[str, ...]) -> list[Any]:
        """What a path leads to. A condition on the sources of all mounts sees the rootfs as well."""
        if path[:1] not in (("mounts",), ("root",), (ANY,)):
            return reach(self.config, path)
        if path == ("mounts", ANY, "source"):
            return [mount.get("source", ABSENT) for mount in self.mounts()]
        return reach({**self.config, **sources.judged_parts(self.config, self.invocation)}, path)

    def _annotations(self) -> dict[str, Any]:
        """The annotations, but for those of Kubernetes that the engine does not set."""
        annotations = self.config.get("annotations")
        if not isinstance(annotations, dict):
            return {}
        engine = self.invocation["engine"]
        return {key: value for key, value in annotations.items() if _is_believed(key, engine)}

    def _fact(self, name: str) -> Any:
        key = ANNOTATIONS_OF.get(self.invocation["engine"], {}).get(name)
        return (self._annotations().get(key) if key else None) or self.invocation.get(name)


def _is_believed(key: str, engine: str) -> bool:
    if not key.startswith(_OF_KUBERNETES):
        return True
    owner = next((owner for prefix, owner in _RESERVED.items() if key.startswith(prefix)), None)
    return engine == owner if owner else engine in ANNOTATIONS_OF


def _of_keys_like(values: dict[str, Any], pattern: tuple[Any, ...]) -> list[Any]:
    return [value for key, value in values.items() if conditions.is_all_of(key, pattern)] or [ABSENT]


def is_for(one: Policy, view: View) -> bool:
    """Whether a policy is for a call: its `match` holds, and it has a say in an `update`."""
    if one.skips_updates and view.invocation["command"] == "update":
        return False
    return one.match is None or holds(one.match, view)


def holds(condition: Condition, view: View) -> bool:
    """Whether a condition is true. A subject with several values needs one of them to pass all tests."""
    kind = condition[0]
    if kind == "mount":
        return any(mounts.is_selected(mount, condition[1]) for mount in view.mounts())
    if kind == "is":
        return any(conditions.fits(value, condition[2]) for value in view.values(condition[1]))
    if kind == "all":
        return all(holds(part, view) for part in condition[1])
    found = any(holds(part, view) for part in condition[1])
    return found if kind == "any" else not found


def subjects(condition: Condition) -> set[Subject]:
    """All that a condition asks about, but for what it asks of mounts."""
    if condition[0] == "mount":
        return set()
    if condition[0] == "is":
        return {condition[1]}
    return {subject for part in condition[1] for subject in subjects(part)}
