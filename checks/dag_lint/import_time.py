"""What of a file runs when Airflow imports it, and the full names of what it calls."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from checks.dag_lint.sources import Source

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Executed:
    """The nodes of a source that run at import, and what its names stand for."""

    source: Source
    nodes: list[ast.AST] = field(default_factory=list)
    # What a name was imported as (`np` is numpy), or was assigned.
    imported: dict[str, str] = field(default_factory=dict)
    assigned: dict[str, ast.expr] = field(default_factory=dict)

    def dotted(self, node: ast.AST, depth: int = 4) -> str:
        """The full name of an expression: `Path("a") / "b"` is pathlib.Path(); blank if unknown."""
        if not depth:
            return ""
        match node:
            case ast.Attribute(value=value, attr=attr):
                inner = self.dotted(value, depth)
                return f"{inner}.{attr}" if inner else ""
            case ast.Call(func=function):
                inner = self.dotted(function, depth)
                return f"{inner}()" if inner else ""
            case ast.BinOp(left=left):
                return self.dotted(left, depth)
            case ast.Name(id=name):
                if name in self.imported:
                    return self.imported[name]
                given = self.assigned.get(name)
                return self.dotted(given, depth - 1) if given is not None else name
        return ""

    def value(self, node: ast.expr, depth: int = 4) -> ast.expr:
        """What an expression stands for: a name of this file is followed to what it was given."""
        while depth and isinstance(node, ast.Name) and node.id in self.assigned:
            node, depth = self.assigned[node.id], depth - 1
        return node

    def calls(self) -> Iterator[ast.Call]:
        """The calls among the nodes."""
        return (node for node in self.nodes if isinstance(node, ast.Call))


def executed(source: Source) -> Executed:
    """What runs at import: all but the bodies of functions that nobody calls meanwhile.

    A function runs at import where it is decorated as a DAG, or is a plain one that is called by
    name; a decorated one may be a task, which only looks like a call.
    """
    found = Executed(source)
    functions = _plain_functions(source.tree)
    waiting: list[ast.AST] = list(reversed(source.tree.body))
    while waiting:
        node = waiting.pop()
        found.nodes.append(node)
        _learn(node, found)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = functions.pop(node.func.id, None)
            waiting += reversed(called.body if called else [])
        waiting += reversed(list(_inside(node)))
    return found


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when this node does."""
    if isinstance(node, FUNCTIONS):
        yield from node.decorator_list
        yield from node.args.defaults
        yield from (value for value in node.args.kw_defaults if value)
        yield from node.body if _makes_a_dag(node) else []
    elif isinstance(node, ast.Lambda):
        yield from node.args.defaults
    elif isinstance(node, ast.If) and _only_elsewhere(node.test):
        yield from node.orelse
    elif isinstance(node, ast.AnnAssign):
        yield from [part for part in (node.target, node.value) if part]
    else:
        yield from ast.iter_child_nodes(node)


def _learn(node: ast.AST, found: Executed) -> None:
    match node:
        case ast.Import(names=names):
            for alias in names:
                top = alias.name.partition(".")[0]
                found.imported[alias.asname or top] = alias.name if alias.asname else top
        case ast.ImportFrom(module=module, names=names, level=0):
            for alias in names:
                found.imported[alias.asname or alias.name] = f"{module}.{alias.name}"
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            found.assigned[name] = value
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            found.assigned[name] = value
        case ast.withitem(context_expr=value, optional_vars=ast.Name(id=name)):
            found.assigned[name] = value


def _plain_functions(tree: ast.Module) -> dict[str, Function]:
    nested = [statement for statement in tree.body if isinstance(statement, FUNCTIONS)]
    for function in list(nested):
        if _makes_a_dag(function):
            nested += [inner for inner in function.body if isinstance(inner, FUNCTIONS)]
    return {function.name: function for function in nested if not function.decorator_list}


def _makes_a_dag(function: Function) -> bool:
    """Decorated with `@dag`: its body builds the DAG at import."""
    for decorator in function.decorator_list:
        named = decorator.func if isinstance(decorator, ast.Call) else decorator
        if getattr(named, "id", None) == "dag" or getattr(named, "attr", None) == "dag":
            return True
    return False


def _only_elsewhere(test: ast.expr) -> bool:
    """`if TYPE_CHECKING` and `if __name__ == "__main__"` are not for Airflow."""
    return any(
        word in ast.unparse(test) for word in ("TYPE_CHECKING", "__name__ == ", "== __name__")
    )
