"""Reads the imports of every module and keeps the house in order: see CONTRIBUTING.md."""

import ast
import configparser
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bert_ko.commands import COMMANDS, TOOLS, UMBRELLA

ROOT = Path(__file__).parents[1]
PACKAGE = "bert_ko"

# What each floor may import besides itself.
BELOW = {
    "ground": set(),
    "tokenization": {"ground"},
    "data": {"ground", "tokenization"},
    "modeling": {"ground"},
    "training": {"ground", "tokenization", "data", "modeling"},
    "report": {"ground"},
    "pages": {"ground", "tokenization", "data", "report"},
    "tasks": {"ground", "tokenization", "data", "modeling", "training", "report"},
    "serving": {"ground", "report", "tasks"},
    "commands": {
        *("ground", "tokenization", "data", "modeling", "training", "report", "pages", "tasks"),
        "serving",
    },
    "api": {"ground", "tasks", "tokenization"},
}
FRAMEWORKS = {"tensorflow", "keras", "torch", "jax"}
# Floors and modules that import one; modeling knows keras.ops alone, when it is first used.
WITH_FRAMEWORKS = {
    "training": {"tensorflow", "keras", "jax"},
    "bert_ko.tasks.conversion.comparison": {"torch"},
    # A part of a program for other machines; it is copied, never imported.
    "bert_ko.tasks.conversion.examples.saved_model_head": {"tensorflow"},
}
LAZY_OPS = "bert_ko.modeling.ops"
BACKENDS = ("bert_ko.training.jax_backend", "bert_ko.training.tensorflow_backend")
# Its own modules, the one that registers it, and the one that says it is the default.
OF_BERT = {f"bert_ko.modeling.{name}" for name in ("bert", "encoder", "config")} | {
    "bert_ko.tokenization.published",  # transformers names the parts of its tokenizers so
}
# Our class for transformers, which knows tokenizers by such names.
BERT_TOKENIZERS = re.compile("Bert(Ko)?Tokenizer(Fast)?")
SHEBANG = "#!/usr/bin/env python3"
MAX_LAUNCHER_LINES = 15


class House:
    """The modules below ROOT/bert_ko and the launchers in ROOT/bin."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.launchers = sorted(
            path for path in (root / "bin").glob("*") if path.is_file() and path.name[0] != "."
        )
        self.commands = {module_of(path) for path in self.launchers}
        self.commands |= {f"{PACKAGE}.{name}" for name in TOOLS}
        self.paths = {
            module_name(path.relative_to(root)): path
            for path in sorted((root / PACKAGE).rglob("*.py"))
        }
        self.trees = {name: ast.parse(path.read_bytes()) for name, path in self.paths.items()}
        self.imports = {name: set(self._imports(name)) for name in self.trees}

    def floor(self, module: str) -> str:
        if module == PACKAGE:  # bert_ko/__init__.py
            return "api"
        parts = module.split(".")
        is_folder = len(parts) > 2 or (len(parts) == 2 and self._is_package(module))
        if is_folder:
            return "ground" if module_of_flags(module) else parts[1]
        return "commands" if module in self.commands else "ground"

    def _is_package(self, module: str) -> bool:
        return (self.root / Path(*module.split("."))).is_dir()

    def _imports(self, module: str) -> Iterator[str]:
        """Yields the modules that a module imports anywhere, in functions too."""
        is_init = self.paths[module].name == "__init__.py"
        for node in ast.walk(self.trees[module]):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                package = module.split(".")
                package = package[: len(package) - node.level + is_init] if node.level else []
                base = ".".join([*package, *([node.module] if node.module else [])])
                for alias in node.names:
                    name = f"{base}.{alias.name}"
                    yield name if name in self.paths or self._is_package(name) else base


def module_of(launcher: Path) -> str:
    """The module that a launcher starts; that of all commands is the package itself."""
    return f"{PACKAGE}.{'__main__' if launcher.name == PACKAGE else launcher.name}"


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def module_of_flags(module: str) -> bool:
    """Whether it is of the one folder that stands on the ground."""
    return f"{module}.".startswith(f"{PACKAGE}.flags.")


def top(module: str) -> str:
    return module.split(".")[0]


def floor_violations(house: House) -> list[str]:
    """Imports of a floor that is not below, and folders that are no floor."""
    found = []
    for module, imports in house.imports.items():
        floor = house.floor(module)
        if floor not in BELOW:
            found.append(f"{module} is in no floor of the house")
            continue
        for imported in sorted(imports):
            if top(imported) != PACKAGE or imported == PACKAGE:
                continue
            below = house.floor(imported)
            if below != floor and below not in BELOW[floor]:
                found.append(f"{module} ({floor}) imports {imported} ({below})")
    return found


def circles(house: House) -> list[str]:
    """Chains of imports that come back to where they began."""
    done: set[str] = set()
    found: list[str] = []

    def visit(module: str, chain: list[str]) -> None:
        if module in chain:
            found.append(" -> ".join([*chain[chain.index(module) :], module]))
        elif module not in done:
            for imported in sorted(house.imports[module]):
                if imported in house.imports:
                    visit(imported, [*chain, module])
            done.add(module)

    for module in house.imports:
        visit(module, [])
    return found


def framework_violations(house: House) -> list[str]:
    found = []
    for module, imports in house.imports.items():
        known = WITH_FRAMEWORKS.get(house.floor(module), set())
        forbidden = FRAMEWORKS - known - WITH_FRAMEWORKS.get(module, set())
        found += [f"{module} imports {name}" for name in sorted(imports) if top(name) in forbidden]
        for name in strings(house.trees[module]):
            if "." in name and top(name) in forbidden and module != LAZY_OPS:
                found.append(f"{module} names {name}")
    return found


def strings(tree: ast.Module) -> Iterator[str]:
    """Yields the texts of a module that are no docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in docstrings:
            yield node.value


def identifiers(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        names = (getattr(node, attribute, None) for attribute in ("id", "attr", "name", "arg"))
        yield from (name for name in names if isinstance(name, str))


def bert_violations(house: House) -> list[str]:
    """Modules that know BERT, and not just an encoder, by its classes or its variables."""
    return [
        f"{module} names {text}"
        for module, tree in house.trees.items()
        if module not in OF_BERT
        for text in (*identifiers(tree), *strings(tree))
        if (re.search(r"\bbert/|\b_?Bert[A-Z]", text) or text == "bert")
        and not BERT_TOKENIZERS.fullmatch(text)
    ]


def absl_violations(house: House) -> list[str]:
    """Modules besides flags/parsing.py that import absl, and any that reads the global FLAGS."""
    found = []
    for module, imports in house.imports.items():
        if module != f"{PACKAGE}.flags.parsing" and any(top(name) == "absl" for name in imports):
            found.append(f"{module} imports absl")
        for node in ast.walk(house.trees[module]):
            names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            if "FLAGS" in (getattr(node, "id", None), getattr(node, "attr", None), *names):
                found.append(f"{module} reads FLAGS in line {node.lineno}")
    return found


def launcher_violations(house: House) -> list[str]:
    found = []
    for path in house.launchers:
        lines = path.read_text(encoding="utf-8").splitlines()
        if (module := module_of(path)) not in house.paths:
            found.append(f"bin/{path.name} has no module {module.replace('.', '/')}.py")
        if not os.access(path, os.X_OK):
            found.append(f"bin/{path.name} is not executable")
        if lines[:1] != [SHEBANG]:
            found.append(f"bin/{path.name} must begin with {SHEBANG}")
        if len(lines) > MAX_LAUNCHER_LINES:
            found.append(f"bin/{path.name} has more than {MAX_LAUNCHER_LINES} lines")
    return found


CHECKS: dict[str, Callable[[House], list[str]]] = {
    "imports go down only": floor_violations,
    "imports have no circles": circles,
    "only training imports frameworks": framework_violations,
    "encoders of other kinds need no change elsewhere": bert_violations,
    "only flags/parsing.py imports absl": absl_violations,
    "launchers are thin": launcher_violations,
}


@pytest.fixture(scope="module")
def house() -> House:
    return House(ROOT)


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_house_is_in_order(house: House, check: str) -> None:
    assert f"{PACKAGE}.flags" in house.paths
    assert CHECKS[check](house) == []


@pytest.mark.parametrize("module", BACKENDS)
def test_backends_bind_keras_when_they_are_imported(house: House, module: str) -> None:
    # The backend, or the module of its operations, which it imports first of all.
    trees = [house.trees[name] for name in (module, module.replace("_backend", "_operations"))]
    statements = [node for tree in trees for node in tree.body if isinstance(node, ast.Import)]
    assert "keras" in {alias.name for node in statements for alias in node.names}


def test_setup_cfg_installs_every_launcher(house: House) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    installed = setup["options"]["scripts"].split()
    assert sorted(installed) == [f"bin/{path.name}" for path in house.launchers]
    assert sorted(installed) == sorted(f"bin/{name}" for name in (UMBRELLA, *COMMANDS))


def build(root: Path, sources: dict[str, str]) -> House:
    for name, source in sources.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        if name.startswith("bin/"):
            path.chmod(0o755)
    return House(root)


LAUNCHER = f"{SHEBANG}\nimport sys\n"


def test_checks_good_house_is_accepted(tmp_path: Path) -> None:
    house = build(
        tmp_path,
        {
            "bert_ko/__init__.py": "",
            "bert_ko/flags/__init__.py": "from bert_ko.flags.parsing import parse",
            "bert_ko/flags/parsing.py": "from absl import flags\nfrom bert_ko import files\n",
            "bert_ko/files.py": "import os",
            "bert_ko/tokenization/__init__.py": "from bert_ko.tokenization.b import c",
            "bert_ko/tokenization/a.py": "from . import b\nfrom .b import c",
            "bert_ko/tokenization/b.py": "from bert_ko import flags\nimport numpy",
            "bert_ko/modeling/ops.py": "import importlib\nx = importlib.import_module('keras.ops')",
            "bert_ko/training/backend.py": "def f():\n    import keras",
            "bert_ko/train.py": "from bert_ko.modeling import ops\nimport bert_ko.flags",
            "bin/train": LAUNCHER,
        },
    )
    assert [check(house) for check in CHECKS.values()] == [[]] * len(CHECKS)
    assert house.floor("bert_ko.train") == "commands"


UPWARD = {
    "bert_ko/files.py": "bert_ko.tokenization.x (tokenization)",
    "bert_ko/tokenization/a.py": "bert_ko.data.x (data)",
    "bert_ko/data/a.py": "bert_ko.modeling.x (modeling)",
    "bert_ko/modeling/a.py": "bert_ko.data.x (data)",
    "bert_ko/tasks/ner/a.py": "bert_ko.train (commands)",
    "bert_ko/data/b.py": "bert_ko.train (commands)",
}


@pytest.mark.parametrize("form", ["import {0}", "def f():\n    from {1} import {2}"])
def test_floor_violations_upward_imports_are_found(form: str, tmp_path: Path) -> None:
    sources = {"bert_ko/train.py": "", "bin/train": LAUNCHER}
    for importing, imported in UPWARD.items():
        module = imported.split()[0]
        package, _, name = module.rpartition(".")
        sources[importing] = form.format(module, package, name)
        sources.setdefault(f"{module.replace('.', '/')}.py", "")
    violations = floor_violations(build(tmp_path, sources))
    assert len(violations) == len(UPWARD)
    for importing, imported in UPWARD.items():
        module = importing.removesuffix(".py").replace("/", ".")
        assert any(
            found.startswith(f"{module} (") and found.endswith(f"imports {imported}")
            for found in violations
        )


A = "bert_ko/training/a.py"


@pytest.mark.parametrize(
    ("check", "sources", "violation"),
    [
        (floor_violations,
         {"bert_ko/data/__init__.py": "from ..training import x", "bert_ko/training/x.py": ""},
         "bert_ko.data (data) imports bert_ko.training.x (training)"),
        (floor_violations, {"bert_ko/utils/a.py": ""},
         "bert_ko.utils.a is in no floor of the house"),
        (circles,
         {"bert_ko/a.py": "import bert_ko.b", "bert_ko/c.py": "from bert_ko import a",
          "bert_ko/b.py": "def f():\n    from bert_ko.c import x"},
         "bert_ko.a -> bert_ko.b -> bert_ko.c -> bert_ko.a"),
        (framework_violations, {"bert_ko/data/a.py": "def f():\n    from keras.ops import take"},
         "bert_ko.data.a imports keras.ops"),
        (framework_violations, {"bert_ko/modeling/a.py": "x = import_module('keras.ops')"},
         "bert_ko.modeling.a names keras.ops"),
        (framework_violations, {A: "import torch"}, "bert_ko.training.a imports torch"),
        (framework_violations, {"bert_ko/tasks/ner/a.py": "import tensorflow as tf"},
         "bert_ko.tasks.ner.a imports tensorflow"),
        (bert_violations, {A: "x: BertConfig"}, "bert_ko.training.a names BertConfig"),
        (bert_violations, {A: "class _BertHead: ..."}, "bert_ko.training.a names _BertHead"),
        (bert_violations, {A: "x = 'bert/pooler'"}, "bert_ko.training.a names bert/pooler"),
        (bert_violations, {A: "x = 'BertModel'"}, "bert_ko.training.a names BertModel"),
        (bert_violations, {A: "x = f'a {y} bert/{z}'"}, "bert_ko.training.a names  bert/"),
        (bert_violations, {A: "if x == 'bert': ..."}, "bert_ko.training.a names bert"),
        (bert_violations, {"bert_ko/modeling/bert.py": "x: BertConfig"}, None),
        (bert_violations,
         {A: '"""bert/a."""\nfrom bert_ko import a\nbert_config_file = "bert_config.json BERT"'},
         None),
        (absl_violations, {A: "from absl import logging"}, "bert_ko.training.a imports absl"),
        (absl_violations, {A: "import absl.flags"}, "bert_ko.training.a imports absl"),
        (absl_violations, {A: "x = FLAGS.y"}, "bert_ko.training.a reads FLAGS in line 1"),
        (absl_violations, {A: "x = a.FLAGS"}, "bert_ko.training.a reads FLAGS in line 1"),
        (absl_violations, {"bert_ko/flags/parsing.py": "from absl.flags import FLAGS"},
         "bert_ko.flags.parsing reads FLAGS in line 1"),
        (absl_violations, {"bert_ko/flags/help.py": "from absl import flags"},
         "bert_ko.flags.help imports absl"),
    ],
)  # fmt: skip
def test_violations_are_found(
    check: Callable[[House], list[str]],
    sources: dict[str, str],
    violation: str | None,
    tmp_path: Path,
) -> None:
    assert check(build(tmp_path, sources)) == ([violation] if violation else [])


def test_launcher_violations_are_found(tmp_path: Path) -> None:
    house = build(tmp_path, {"bin/train": "#!/bin/sh\n" + "x\n" * 20})
    (tmp_path / "bin" / "train").chmod(0o644)
    assert launcher_violations(house) == [
        "bin/train has no module bert_ko/train.py",
        "bin/train is not executable",
        f"bin/train must begin with {SHEBANG}",
        "bin/train has more than 15 lines",
    ]
