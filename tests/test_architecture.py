"""Laws of the package as a whole: who imports whom, and nothing happens at import time."""

import ast
import pathlib
import subprocess
import sys

import jaxhead

PACKAGE = pathlib.Path(jaxhead.__file__).parent
LAYERS = (
    ("files",), ("geometry",), ("encodings",), ("rendering",), ("networks",), ("heads",),
    ("audio",), ("losses", "metrics"), ("captures",), ("training",), ("evaluation",),
    ("systems",), ("app",), ("__main__",),
)  # fmt: skip
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def sources():
    return sorted(PACKAGE.rglob("*.py"))


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree):
    """Full names of what a module imports, wherever it does; `from a import b` gives a.b."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.split(".")[0] in ("jaxhead", "experiments", "tests")]


def upward(importer, name):
    """Why a module may not import a name, or None."""
    here, there = importer.split(".")[1:], name.split(".")[1:]
    if not name.startswith("jaxhead"):
        return "is not part of the package"
    if not here or not there or there[0] not in RANK:
        return None  # the package's own root: its version
    if RANK[there[0]] > RANK[here[0]]:
        return "lies in a higher layer"
    inside = here[0] == there[0] == "systems" and min(len(here), len(there)) > 2
    if inside and here[1] != there[1]:
        return "belongs to another system"
    return None


def test_the_rule_knows_up_from_down():
    assert upward("jaxhead.geometry.bvh", "jaxhead.training.loop.train")
    assert upward("jaxhead.systems.avatar.model", "jaxhead.systems.other.model.f")
    assert upward("jaxhead.losses.huber", "experiments.benchmarks")
    assert upward("jaxhead.app.main", "jaxhead.systems.registry.find") is None
    assert upward("jaxhead.training.runs", "jaxhead.__version__") is None


def test_every_package_has_its_place():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders <= set(RANK)


def test_no_module_imports_upwards():
    found = []
    for path in sources():
        module = module_of(path)
        for name in imported(ast.parse(path.read_text("utf-8"))):
            reason = upward(module, name)
            if reason:
                found.append(f"{module}: {name} {reason}")
    assert not found, "\n".join(found)


def test_no_module_imports_in_a_circle():
    graph = {}
    modules = {module_of(path) for path in sources()}
    for path in sources():
        tree = ast.parse(path.read_text("utf-8"))
        names = imported(tree)
        targets = {n if n in modules else n.rpartition(".")[0] for n in names}
        graph[module_of(path)] = (targets & modules) - {"jaxhead", module_of(path)}
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        path.append(module)
        for target in sorted(graph[module]):
            visit(target)
        path.pop()
        done.add(module)

    for module in sorted(graph):
        visit(module)


def test_importing_everything_starts_no_device_and_needs_no_optional_library():
    modules = [module_of(path) for path in sources() if path.name != "__main__.py"]
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "from jax._src import xla_bridge\n"
        "print(xla_bridge.backends_are_initialized())\n"
        "optional = ('av', 'mediapipe', 'soundfile', 'trimesh', 'cv2', 'grain', 'array_record',"
        " 'ray')\n"
        "print([m for m in optional if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["False", "[]"], done.stdout
