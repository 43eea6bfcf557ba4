"""Nothing in the package runs code that comes out of a file, nor a shell."""

import ast
import pathlib
import subprocess
import sys

import jaxhead

SOURCES = sorted(pathlib.Path(jaxhead.__file__).parent.rglob("*.py"))
NAMES = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    ("os", "system"),
    ("os", "popen"),
    ("pickle", "load"),
    ("pickle", "loads"),
    ("pickle", "Unpickler"),
    ("marshal", "loads"),
    ("shelve", "open"),
}
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code"}
# Unpacking writes wherever the names in an archive lead.
METHODS = {"extract", "extractall", "unpack_archive"}


def offences(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] in MODULES or tuple(name.split(".")) in ATTRIBUTES:
                found.append(f"import of {name} in line {node.lineno}")
                break
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Name) and function.id in NAMES:
            found.append(f"{function.id} in line {node.lineno}")
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            if (function.value.id, function.attr) in ATTRIBUTES:
                found.append(f"{function.value.id}.{function.attr} in line {node.lineno}")
        if isinstance(function, ast.Attribute) and function.attr in METHODS:
            found.append(f"{function.attr} in line {node.lineno}")
        for keyword in node.keywords:
            on = isinstance(keyword.value, ast.Constant) and keyword.value.value is not False
            if keyword.arg in ("shell", "allow_pickle") and on:
                found.append(f"{keyword.arg} in line {node.lineno}")
    return found


def test_the_search_finds_what_it_looks_for():
    bad = ["eval('1')", "os.system('ls')", "np.load(f, allow_pickle=True)", "run('x', shell=True)"]
    bad += ["import pickle as p", "from os import system", "from pickle import loads"]
    bad += ["zipfile.ZipFile(f).extractall('out')", "import os, dill"]
    assert all(len(offences(line)) == 1 for line in bad)
    assert offences("np.load(f, allow_pickle=False)\njax.jit(f).lower(x).compile()") == []


def test_no_source_runs_code_from_files():
    assert len(SOURCES) > 10
    found = {str(path): offences(path.read_text("utf-8")) for path in SOURCES}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_importing_files_is_light():
    modules = "atomic images arrays video video_writer sound assets locks native containers errors"
    modules += " pickles torch_files safetensors"
    code = "; ".join(f"import jaxhead.files.{name}" for name in modules.split())
    code += "; import sys; print([m for m in ('jax', 'av', 'PIL', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
