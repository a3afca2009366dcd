"""Writes Python's library into hookrun-start, as far as hookrun and ruamel.yaml use it; run by build-start.sh.

    python3 -I freeze.py PACKAGES SIMPLEJSON OUTPUT

SIMPLEJSON is the directory of that package's sources, whose C part refers to two modules of its own.
OUTPUT/frozen.c is the table that Python calls PyImport_FrozenModules, OUTPUT/frozen.bin the code.
"""

from __future__ import annotations

import marshal
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

# What Python itself starts with, what the heap is filled by, and what reads CDI specs in YAML.
_ALWAYS = (
    "encodings.ascii", "encodings.idna", "encodings.latin_1", "encodings.utf_8", "importlib.util",
    "ast", "collections.abc", "copy", "dataclasses", "datetime", "enum", "functools", "json", "pathlib", "re",
    "traceback", "types", "typing", "warnings",
)  # fmt: skip
_OF_RUAMEL = ("base64", "binascii", "bisect", "codecs", "fractions", "numbers", "ordereddict", "string")
_OF_SIMPLEJSON = ("errors", "raw_json")
_WITHOUT_DOCSTRINGS = 2


def main(packages: str, simplejson: str, output: str) -> None:
    sys.path.append(str(Path(__file__).parent))
    modules = import_module("modules")
    for name in (*_ALWAYS, *_OF_RUAMEL, *sorted(modules.find(Path(packages)).others)):
        try:
            import_module(name)
        except ImportError:  # another version's, or one that this program is built without
            continue
    sources = dict(_library()) | dict(_parts_of(Path(simplejson)))
    table, code = [], b""
    for name, (path, is_package) in sorted(sources.items()):
        text = path.read_bytes() if path else b""
        part = marshal.dumps(compile(text, f"<frozen {name}>", "exec", dont_inherit=True, optimize=_WITHOUT_DOCSTRINGS))
        table.append(f'    {{"{name}", frozen_code + {len(code)}, {len(part)}, {int(is_package)}, NULL}},')
        code += part
    Path(output, "frozen.bin").write_bytes(code)
    Path(output, "frozen.c").write_text(_TABLE % "\n".join(table))


def _library() -> Iterator[tuple[str, tuple[Path | None, bool]]]:
    """The modules of the standard library that are loaded now, with their sources."""
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        # `os` and what it needs are frozen in libpython already: those have no file
        if spec and spec.name == name != "modules" and (spec.origin or "").endswith(".py"):
            yield name, (Path(spec.origin), spec.submodule_search_locations is not None)


def _parts_of(simplejson: Path) -> Iterator[tuple[str, tuple[Path | None, bool]]]:
    yield "simplejson", (None, True)
    for name in _OF_SIMPLEJSON:
        yield f"simplejson.{name}", (simplejson / f"{name}.py", False)


_TABLE = """\
#include <Python.h>

__asm__(".pushsection .rodata\\nfrozen_code: .incbin \\"frozen.bin\\"\\n.popsection");
extern const unsigned char frozen_code[];

static const struct _frozen table[] = {
%s
    {NULL, NULL, 0, 0, NULL},
};
extern const struct _frozen *const frozen_modules;
const struct _frozen *const frozen_modules = table;
"""

if __name__ == "__main__":
    main(*sys.argv[1:])
