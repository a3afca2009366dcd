"""Conditions on a call: trees of all, any and none over what is known of it.

A condition is ("all" | "any" | "none", (condition, …)), ("is", subject, tests) or ("mount", selector, see `mounts`). A
subject is a tuple: a fact's name; ("field", token, …); ("annotation" | "label", key); or ("annotationLike" |
"labelLike", regular expression of the key).
"""

from __future__ import annotations

from hookrun.policies import conditions, mounts, sources
from hookrun.policies.pointer import ABSENT, ANY, reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Subject = tuple[Any, ...]
    Condition = tuple[Any, ...]

# Where engines put what Kubernetes knows of a container: containerd's CRI plugin, CRI-O, and the kubelet's own labels.
ANNOTATIONS_OF = {
    "image": ("io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName", "io.kubernetes.cri-o.Image"),
    "namespace": (
        "io.kubernetes.cri.sandbox-namespace",
        "io.kubernetes.cri-o.Namespace",
        "io.kubernetes.pod.namespace",
    ),
    "pod": ("io.kubernetes.cri.sandbox-name", "io.kubernetes.cri-o.KubeName", "io.kubernetes.pod.name"),
    "container": (
        "io.kubernetes.cri.container-name",
        "io.kubernetes.container.name",
        "io.kubernetes.cri-o.ContainerName",
    ),
}
FACTS = ("engine", "command", "runtime", *ANNOTATIONS_OF)


class View:
    """What conditions look at: one call and one state of its config. Each value is looked up once.

    `invocation` has "engine", "command", "runtime", "container" (its id) and "labels"; "look", a `sources.Look`, and
    "is_whole", false where what the config leaves out says nothing.
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
            return [self._label(subject[1])]
        if kind == "annotationLike":
            return _of_keys_like(self._annotations(), subject[1])
        if kind == "labelLike":
            return _of_keys_like({**self._annotations(), **self.invocation["labels"]}, subject[1])
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
        annotations = self.config.get("annotations")
        return annotations if isinstance(annotations, dict) else {}

    def _label(self, key: str) -> Any:
        labels: dict[str, Any] = self.invocation["labels"]
        return labels[key] if key in labels else self._annotations().get(key, ABSENT)

    def _fact(self, name: str) -> Any:
        annotations = self._annotations()
        for key in ANNOTATIONS_OF.get(name, ()):
            if annotations.get(key):
                return annotations[key]
        return self.invocation.get(name)


def _of_keys_like(values: dict[str, Any], pattern: tuple[Any, ...]) -> list[Any]:
    return [value for key, value in values.items() if conditions.is_all_of(key, pattern)] or [ABSENT]


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
