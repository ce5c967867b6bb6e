"""Which code computes a trial: a digest for each module that has part in it, stored with every result.

From `fit` on, every function, class and constant of this project that the code names is followed, as it is
loaded. What counts is the syntax tree: docstrings, comments, layout and the file's name change nothing.
"""

import ast
import hashlib
import inspect
import json
import linecache
import pkgutil
import sysconfig
from collections import defaultdict
from functools import cache, cached_property, partial
from types import CodeType, FunctionType, ModuleType

from hsta_lib import PACKAGE

_FIT = "hsta_lib.training.fit:fit"
# A trial uses either the first two or the others; what it does not use is not followed.
_OF_HSTA = ("hsta_lib.models.hsta:HSTA", "hsta_lib.training.batches:Clips")
_OF_BASELINES = ("hsta_lib.training.batches:Inputs", "hsta_lib.training.baseline_inputs:build")
_SYSTEMS = "hsta_lib.models.baselines.registry:SYSTEMS"
_FLOW = "hsta_lib.data.dataset:Dataset.flow_path"
# Settings count in a trial's id; files, progress bars and checkpoints do not change what is computed.
_NOT_FOLLOWED = tuple(
    f"hsta_lib.{name}"
    for name in ("config", "files", "paper", "data.cache", "training.checkpoint", "training.code")
)
_ARRAYS = " arrays"  # after a module's name: those that its functions name, as tables of codes
_IN_FINGERPRINT = "hsta_lib.data.synthetic"  # whose arrays are in the pixels
_INSTALLED = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
# Taken at import: a process goes on with the code it has loaded, whatever happens to the files.
_SOURCES = {str(path): path.read_text() for path in PACKAGE.rglob("*.py")}


def digests(trial):
    """Digests of the code that computes a trial's result in this process.

    By module, named from the library's root (``training.fit``), eight hex digits each.
    """
    comparison = trial.settings.comparison
    if comparison not in _walks or not _walks[comparison].holds():
        _walks[comparison] = _walk_of(comparison)
    return _walks[comparison].digests


def digest_of(function):
    """Digest of a function and of all that it names, eight hex digits."""
    walk = _Walk()
    walk.follow(function)
    return hashlib.sha256(str(walk.digests).encode()).hexdigest()[:8]


def differing(made_by, now):
    """Modules whose part in a result differs, of two `digests`; none if a file was but renamed.

    Results from before arrays were followed have no digest of them, and count as made with those of now.
    """
    before = dict(made_by)
    if not any(name.endswith(_ARRAYS) for name in made_by):
        before |= {name: digest for name, digest in now.items() if name.endswith(_ARRAYS)}
    if sorted(before.values()) == sorted(now.values()):
        return []
    names = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
    return sorted({name.removesuffix(_ARRAYS) for name in names})


_walks = {}
_resolved = pkgutil.resolve_name  # by name: who reads no result needs no torch


def _walk_of(comparison):
    """Everything that the training of one network names."""
    roots, others = (_OF_BASELINES, _OF_HSTA) if comparison.baseline else (_OF_HSTA, _OF_BASELINES)
    walk = _Walk(_resolved(name) for name in (*others, _SYSTEMS))
    walk.follow([_resolved(name) for name in (_FIT, *roots)])
    if comparison.baseline:
        ((_, system),) = walk.bound(_resolved(_SYSTEMS)[comparison.baseline], {comparison.form})
        walk.parts["models.baselines.registry"].add(walk.follow(vars(system)))
        if system.flow_size:
            walk.follow(_resolved(_FLOW))
    return walk


class _Walk:
    """What functions and classes name: ``parts``, descriptions by module, and ``bindings``, their names."""

    def __init__(self, left_out=()):
        self.parts, self.bindings, self.seen = defaultdict(set), [], set()
        self.left_out = set(map(id, left_out))

    @cached_property
    def digests(self):
        """Eight hex digits by module, once all is followed."""
        parts = {name: json.dumps(sorted(found)).encode() for name, found in sorted(self.parts.items())}
        return {name: hashlib.sha256(found).hexdigest()[:8] for name, found in parts.items()}

    def holds(self):
        """Whether every name still stands for what was followed."""
        return all(names.get(name) is value for names, name, value in self.bindings)

    def follow(self, value):
        """What a value is, as text; functions and classes are added to the parts of their modules."""
        value = _unwrapped(value)
        if isinstance(value, dict):
            return str({str(key): self.follow(item) for key, item in value.items()})
        if isinstance(value, list | tuple):
            return str([self.follow(item) for item in value])
        if isinstance(value, set | frozenset):
            return str(sorted(map(self.follow, value)))
        if isinstance(value, partial):
            return self.follow([value.func, value.args, value.keywords])
        if isinstance(value, FunctionType | type):
            return self._follow_definition(value)
        return repr(value) if isinstance(value, bool | int | float | str | bytes | None) else ""

    def _follow_definition(self, value):
        if not _is_ours(value):
            return ""
        if id(value) not in self.seen:
            self.seen.add(id(value))
            describe = self._class if isinstance(value, type) else self._function
            self.parts[value.__module__.removeprefix("hsta_lib.")].update(describe(value))
        return value.__qualname__

    def _function(self, function):
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        given = self.follow([function.__defaults__, function.__kwdefaults__, cells])
        names = _names(function.__code__)
        named = self.bound(function.__globals__, names)
        for _, module in [pair for pair in named if isinstance(pair[1], ModuleType)]:
            named += self.bound(vars(module), names) if _is_followed(module.__name__) else []
        arrays = {f"{name} = {value.tolist()}" for name, value in named if hasattr(type(value), "tolist")}
        if arrays and not function.__module__.startswith(_IN_FINGERPRINT):
            self.parts[function.__module__.removeprefix("hsta_lib.") + _ARRAYS] |= arrays
        return {f"{function.__qualname__}: {_definition(function.__code__)} {given}", *self._told(named)}

    def _class(self, kind):
        self.follow(kind.__bases__)
        members = {name for name, value in vars(kind).items() if not name.startswith("__") or callable(value)}
        bases = ", ".join(base.__qualname__ for base in kind.__bases__)
        return {f"{kind.__qualname__}({bases})", *self._told(self.bound(vars(kind), members))}

    def _told(self, named):
        """Names and what they stand for as text, where that is not another library's."""
        followed = [(name, self.follow(value)) for name, value in named]
        return [f"{name} = {text}" for name, text in followed if text]

    def bound(self, namespace, names):
        """Some names of a module or class and what they stand for."""
        found = [(name, namespace[name]) for name in sorted(names & namespace.keys())]
        self.bindings += [(namespace, *pair) for pair in found]
        return [pair for pair in found if id(pair[1]) not in self.left_out]


def _unwrapped(value):
    """The function within a property, a class method or a decorated function."""
    for attribute in ("fget", "__func__"):
        value = getattr(value, attribute, value) if not isinstance(value, type) else value
    return inspect.unwrap(value) if callable(value) else value


def _is_ours(value):
    if isinstance(value, FunctionType) and not _definition(value.__code__):
        return False
    if value.__module__.partition(".")[0] == "hsta_lib":
        return _is_followed(value.__module__)
    try:
        return not inspect.getfile(value).startswith(_INSTALLED)
    except (TypeError, OSError):  # built in
        return False


def _is_followed(module):
    return module.startswith("hsta_lib.") and not module.startswith(_NOT_FOLLOWED)


def _names(code):
    """Names a function uses, also within its inner functions."""
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)


@cache
def _definition(code):
    """Syntax tree of a function, as text without docstrings; empty if it has no source."""
    node = _definitions(code.co_filename).get(code.co_firstlineno)
    return json.dumps(_plain(node)) if node else ""


@cache
def _definitions(filename):
    """Nodes of the functions of a file, by their first lines."""
    if filename.startswith("<string"):  # made by a decorator, as the methods of a dataclass
        return {}
    source = _SOURCES.get(filename) or "".join(linecache.getlines(filename))
    functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, functions):
            first = min([node.lineno, *(part.lineno for part in getattr(node, "decorator_list", []))])
            found.setdefault(first, []).append(node)
    return found


def _plain(node):
    """A syntax tree as lists; what is empty is left out, as newer versions of Python add empty fields."""
    if isinstance(node, list):
        return [_plain(item) for item in node if not _is_docstring(item)]
    if not isinstance(node, ast.AST):
        return node if isinstance(node, str | int | bool) else repr(node)
    fields = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
    return [type(node).__name__, *([name, _plain(value)] for name, value in fields)]


def _is_docstring(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
