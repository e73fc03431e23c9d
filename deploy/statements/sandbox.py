"""Jinja for the SQL of others: a template is data, and a variable gets into its text as `Sql` or not at all.

`ident`, `literal` and `raw_sql` make `Sql`; so do the template's own words: its text, its string constants, what its macros and
blocks give, and what `~`, `+`, `%`, `join`, `indent`, `trim`, `upper` and `lower` make of these alone. Positive numbers and
booleans are harmless. Every other value of an expression is refused where it would be written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import FILTERS, make_attrgetter
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from deploy.connection.quoting import Sql

LARGEST = 64 * 1024 * 1024
"""Characters that a template may render to, and the most that repeating a text may make."""

_MOST_BITS = 4096
"""Of a number that a template computes."""


class TemplateRefused(jinja2.TemplateRuntimeError):
    """What a template does is not allowed; `next` says what is."""

    def __init__(self, text: str, next: str = "") -> None:
        super().__init__(text)
        self.next = next


def _is_sql(value: object) -> bool:
    """Whether a value can be written as it is. A minus would make a comment of the one before it."""
    if isinstance(value, float):
        return math.isfinite(value) and math.copysign(1, value) > 0
    if isinstance(value, int):
        return value >= 0
    return isinstance(value, Sql) or value == ""


def _marked(result: Any, parts: Iterable[object]) -> Any:
    """The result of an operation on these parts."""
    if isinstance(result, str | list | tuple) and len(result) > LARGEST:
        raise TemplateRefused(f"makes more than {LARGEST} characters", "make it smaller")
    return Sql(result) if isinstance(result, str) and all(map(_is_sql, parts)) else result


def _bounded(pieces: Iterable[str]) -> Iterator[str]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > LARGEST:
            raise TemplateRefused(f"renders to more than {LARGEST} characters", "make it smaller")
        yield piece


class _Generator(CodeGenerator):
    """Marks the string constants of a template as `Sql`, and has what is written checked while it runs."""

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:
        if isinstance(node.value, float):
            super().visit_Const(node, frame)
        else:
            self.write(_constant(node.value))

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concatenated((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> None:
        super()._output_child_pre(node, frame, finalize)
        self.write("environment.checked(")

    def _output_child_post(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> None:
        self.write(f", {_named(node)!r})")
        super()._output_child_post(node, frame, finalize)

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:
        if forward_caller:  # a call block writes what it gives without being an output
            self.write("environment.checked(")
        super().visit_Call(node, frame, forward_caller=forward_caller)
        if forward_caller:
            self.write(f", {_named(node)!r})")

    def visit_Filter(self, node: nodes.Filter, frame: Frame) -> None:
        innermost: nodes.Expr | None = node
        while isinstance(innermost, nodes.Filter):
            innermost = innermost.node
        if innermost is None:  # a filter block does, too
            self.write("environment.checked(")
        super().visit_Filter(node, frame)
        if innermost is None:
            self.write(f", {f'filter {node.name}'!r})")


def _constant(value: object) -> str:
    """The source of a constant, which the template's author wrote."""
    if isinstance(value, str):
        return f"environment.sql({value!r})"
    if isinstance(value, list | tuple):
        items = "".join(f"{_constant(item)}, " for item in value)
        return f"[{items}]" if isinstance(value, list) else f"({items})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_constant(key)}: {_constant(item)}' for key, item in value.items())}}}"
    return repr(value)


def _named(node: nodes.Node | None) -> str:
    """How the template writes an expression, as far as a sentence needs it."""
    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Getattr):
        return f"{_named(node.node)}.{node.attr}"
    if isinstance(node, nodes.Getitem):
        return f"{_named(node.node)}[{_named(node.arg)}]"
    if isinstance(node, nodes.Const):
        return repr(node.value)
    if isinstance(node, nodes.Filter):
        return f"{_named(node.node)} | {node.name}"
    if isinstance(node, nodes.Call):
        return f"{_named(node.node)}(…)"
    return "…"


class SqlSandbox(ImmutableSandboxedEnvironment):
    """The environment for templates that are not the machinery's own."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"+", "%", "*", "**"})
    sql = Sql

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        del self.globals["lipsum"], self.filters["random"]  # each run would render something else
        self.filters.update({name: _keeping(FILTERS[name]) for name in ("indent", "upper", "lower", "format")})
        self.filters.update(trim=_trim, join=_join, raw_sql=_raw_sql)

    @staticmethod
    def concat(pieces: Iterable[str]) -> Sql:
        """What a template, a macro or a block gives: each piece of it was checked."""
        return Sql("".join(_bounded(pieces)))

    @staticmethod
    def concatenated(parts: tuple[object, ...]) -> str:
        """`a ~ b`."""
        text: str = _marked("".join(map(str, parts)), parts)
        return text

    @staticmethod
    def checked(value: Any, expression: str) -> Any:
        """The value, when it can be written. Raises TemplateRefused, naming the expression and never its value."""
        if not _is_sql(_defined(value)):
            text = f"{{{{ {expression} }}}} would get into the SQL unquoted"
            raise TemplateRefused(text, "write `| literal` for a value, `| ident` for a name, `| raw_sql` for SQL that you trust")
        return value

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator in ("*", "**"):
            _refuse_large(operator, left, right)
        parts = (left, *right) if operator == "%" and isinstance(right, tuple) else (left, right)
        return _marked(super().call_binop(context, operator, left, right), parts)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`"...".format(x)` gives what it is called on; that of `Sql` would pass x."""
        formatted = super().wrap_str_format(value)
        return None if formatted is None else lambda *args, **given: str(formatted(*args, **given))


def _defined(value: Any) -> Any:
    if isinstance(value, jinja2.Undefined):
        str(value)  # raises, with the variable's name
    return value


def _raw_sql(value: Any) -> Sql:
    return Sql(_defined(value))


def _keeping(plain: Callable[..., str]) -> Callable[..., str]:
    """A filter that takes no quotes away: of `Sql` alone it makes `Sql`."""

    def kept(value: Any, *args: Any, **given: Any) -> Any:
        return _marked(plain(value, *args, **given), (value, *args, *given.values()))

    return kept


def _trim(value: Any, chars: str | None = None) -> Any:
    trimmed = FILTERS["trim"](value, chars)
    return trimmed if chars else _marked(trimmed, (value,))


@jinja2.pass_environment
def _join(environment: jinja2.Environment, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> Any:
    get = make_attrgetter(environment, attribute) if attribute is not None else _defined
    parts = [get(part) for part in value]
    return _marked(str(d).join(map(str, parts)), (d, *parts))


def _refuse_large(operator: str, left: Any, right: Any) -> None:
    """Before a `*` or `**` that would take all memory."""
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
        too_large = bits > _MOST_BITS
    else:
        sizes = [len(side) if isinstance(side, str | list | tuple) else side for side in (left, right)]
        too_large = all(isinstance(size, int) for size in sizes) and sizes[0] * sizes[1] > LARGEST
    if too_large:
        raise TemplateRefused(f"`{operator}` makes too large a result", "make it smaller")
