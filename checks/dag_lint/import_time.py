"""Find the code of a file that runs at import, and the full names of what it calls."""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from checks.dag_lint.findings import Finding

Function = ast.FunctionDef | ast.AsyncFunctionDef
# Airflow runs neither of these branches.
NOT_AT_IMPORT = re.compile(r"TYPE_CHECKING|__name__ == |== __name__")


class Code:
    """The nodes of a Python file that run at import, and the meaning of its names.

    These are all nodes except the bodies of functions that are not called at import. A function
    body runs at import if the function is decorated as a DAG, or is undecorated and called by name.
    Calls of other decorated functions are ignored, because they may be tasks.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.syntax_error: Finding | None = None
        self.nodes: list[ast.AST] = []
        # The line and the dotted name of each import: `from a import b` is a.b.
        self.imports: list[tuple[int, str]] = []
        # Each name with what it was imported from (`np` is numpy), or what it was assigned.
        self.imported: dict[str, str] = {}
        self.assigned: dict[str, ast.expr] = {}
        self._functions: dict[str, Function] = {}
        self._waiting: list[ast.AST] = []
        try:
            self._enter(ast.parse(text).body)
        except (SyntaxError, ValueError, RecursionError) as error:
            line = getattr(error, "lineno", None) or 1
            self.syntax_error = Finding(path, line, "syntax", getattr(error, "msg", str(error)))
        # A loop instead of recursion, because an expression may be deeper than Python's stack.
        while self._waiting:
            node = self._waiting.pop()
            self.nodes.append(node)
            self._learn(node)
            self._waiting += reversed([part for part in _parts(node) if part])

    def calls(self) -> Iterator[ast.Call]:
        """Yield the calls among the nodes."""
        return (node for node in self.nodes if isinstance(node, ast.Call))

    def value(self, node: ast.expr, depth: int = 4) -> ast.expr:
        """Resolve a name of this file to the expression that was assigned to it."""
        while depth and isinstance(node, ast.Name) and node.id in self.assigned:
            node, depth = self.assigned[node.id], depth - 1
        return node

    def dotted(self, node: ast.AST, depth: int = 4) -> str:
        """Return an expression's full name or a blank: `Path("a") / "b"` is pathlib.Path()."""
        match node:
            case ast.Attribute(value=inner, attr=attr):
                end = f".{attr}"
            case ast.Call(func=inner):
                end = "()"
            case ast.BinOp(left=inner):
                end = ""
            case ast.Name(id=name) if name in self.imported or name not in self.assigned:
                return self.imported.get(name, name)
            case ast.Name(id=name) if depth > 1:
                return self.dotted(self.assigned[name], depth - 1)
            case _:
                return ""
        name = self.dotted(inner, depth)
        return name and name + end

    def _enter(self, body: Sequence[ast.stmt]) -> None:
        """Queue the body of the file or of a function as the next nodes to run."""
        plain = (one for one in body if isinstance(one, Function) and not one.decorator_list)
        self._functions |= {function.name: function for function in plain}
        self._waiting += reversed(body)

    def _learn(self, node: ast.AST) -> None:
        """Record the names that a node binds, and enter the function that it runs."""
        match node:
            case ast.Import(names=names):
                for alias in names:
                    top = alias.name.partition(".")[0]
                    self.imports.append((node.lineno, alias.name))
                    self.imported[alias.asname or top] = alias.name if alias.asname else top
            case ast.ImportFrom(module=module, names=names, level=0):
                for alias in names:
                    self.imports.append((node.lineno, f"{module}.{alias.name}"))
                    self.imported[alias.asname or alias.name] = f"{module}.{alias.name}"
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                | ast.withitem(context_expr=value, optional_vars=ast.Name(id=name))
            ):
                self.assigned[name] = value
            case ast.Call(func=ast.Name(id=name)) if name in self._functions:
                self._enter(self._functions.pop(name).body)
            case ast.FunctionDef() | ast.AsyncFunctionDef() if _makes_a_dag(node):
                self._enter(node.body)


def _makes_a_dag(function: Function) -> bool:
    """Return whether a function is decorated with `@dag`, so that its body runs at import."""
    names = [getattr(decorator, "func", decorator) for decorator in function.decorator_list]
    return any("dag" in (getattr(name, "id", ""), getattr(name, "attr", "")) for name in names)


def _parts(node: ast.AST) -> Iterable[ast.AST | None]:
    """Return the child nodes that run when a node runs."""
    match node:
        case ast.FunctionDef(args=args) | ast.AsyncFunctionDef(args=args) | ast.Lambda(args=args):
            decorators = getattr(node, "decorator_list", [])
            return [*decorators, *args.defaults, *args.kw_defaults]
        case ast.If(test=test, orelse=orelse) if NOT_AT_IMPORT.search(ast.unparse(test)):
            return orelse
        case ast.AnnAssign(target=target, value=value):
            return [target, value]
    return ast.iter_child_nodes(node)


def words(node: ast.AST | None) -> dict[str | None, ast.expr]:
    """Return the values of a call's keywords, or of a dictionary's string keys.

    The name None represents others: `**more`, or a computed key.
    """
    match node:
        case ast.Call(keywords=keywords):
            return {word.arg: word.value for word in keywords}
        case ast.Dict(keys=keys, values=values):
            return {text(key): value for key, value in zip(keys, values, strict=True)}
    return {}


def text(node: ast.expr | None) -> str | None:
    """Return a string literal, or None for any other expression."""
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, str) else None
