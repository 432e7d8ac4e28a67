"""DynamoDB's condition and update expressions, as far as the stores write them, on items in DynamoDB's own JSON."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

Item = dict[str, dict[str, Any]]
Value = dict[str, Any]
Names = Mapping[str, str]
Values = Mapping[str, Value]
Condition = Callable[[Item, Values], bool]
Operand = Callable[[Item, Values], Value | None]

_TOKEN = re.compile(r"\s*([#:]?\w+|<=|>=|<>|[=<>(),+-])")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class Invalid(Exception):
    """DynamoDB would answer ValidationException."""


def comparable(value: Value) -> tuple[str, Any]:
    """Give a value's type and what it compares by."""
    ((kind, raw),) = value.items()
    return kind, Decimal(raw) if kind == "N" else frozenset(raw) if kind in ("NS", "SS") else raw


class _Reader:
    """A recursive descent over one expression's tokens."""

    def __init__(self, text: str, names: Names) -> None:
        self.tokens = _TOKEN.findall(text)
        if "".join(self.tokens) != re.sub(r"\s", "", text):
            raise Invalid(f"cannot be read: {text}")
        self.names = names
        self.at = 0
        self.used: set[str] = set()

    @property
    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, *expected: str) -> str:
        token = self.next
        if not token or (expected and token not in expected):
            raise Invalid(f"{token!r} stands where {expected} is expected")
        self.at += 1
        return token

    def accept(self, token: str) -> bool:
        if self.next != token:
            return False
        self.at += 1
        return True

    def name(self) -> str:
        token = self.take()
        if not token.startswith("#"):
            raise Invalid(f"{token!r} is no attribute name of ours")
        return self.names[token]

    def listed(self, one: Callable[[], Any]) -> list[Any]:
        found = [one()]
        while self.accept(","):
            found.append(one())
        return found

    # --- conditions

    def disjunction(self) -> Condition:
        parts = [self.conjunction()]
        while self.accept("OR"):
            parts.append(self.conjunction())
        return parts[0] if len(parts) == 1 else lambda item, values: any(p(item, values) for p in parts)

    def conjunction(self) -> Condition:
        parts = [self.negation()]
        while self.accept("AND"):
            parts.append(self.negation())
        return parts[0] if len(parts) == 1 else lambda item, values: all(p(item, values) for p in parts)

    def negation(self) -> Condition:
        if self.accept("NOT"):
            inner = self.negation()
            return lambda item, values: not inner(item, values)
        if self.accept("("):
            inner = self.disjunction()
            self.take(")")
            return inner
        if self.next in ("attribute_exists", "attribute_not_exists"):
            wanted = self.take() == "attribute_exists"
            self.take("(")
            name = self.name()
            self.take(")")
            return lambda item, _values: (name in item) is wanted
        if self.accept("contains"):
            self.take("(")
            whole = self.operand()
            self.take(",")
            part = self.operand()
            self.take(")")
            return lambda item, values: _contains(whole(item, values), part(item, values))
        return self.comparison()

    def comparison(self) -> Condition:
        left = self.operand()
        word = self.take()
        if word == "IN":
            self.take("(")
            options = self.listed(self.operand)
            self.take(")")
            return lambda item, values: any(_equal(left(item, values), o(item, values)) for o in options)
        if word == "BETWEEN":
            low = self.operand()
            self.take("AND")
            high = self.operand()
            return lambda i, v: _ordered("<=", low(i, v), left(i, v)) and _ordered("<=", left(i, v), high(i, v))
        right = self.operand()
        if word == "=":
            return lambda item, values: _equal(left(item, values), right(item, values))
        if word == "<>":
            return lambda item, values: not _equal(left(item, values), right(item, values))
        return lambda item, values: _ordered(word, left(item, values), right(item, values))

    def operand(self) -> Operand:
        token = self.next
        if token == "size":
            self.take()
            self.take("(")
            inner = self.operand()
            self.take(")")
            return lambda item, values: _size(inner(item, values))
        if token.startswith(":"):
            self.take()
            self.used.add(token)
            return lambda _item, values: values[token]
        name = self.name()
        return lambda item, _values: item.get(name)

    # --- updates

    def clauses(self) -> list[tuple[str, str, Operand | None]]:
        found: list[tuple[str, str, Operand | None]] = []
        while self.next:
            word = self.take("SET", "REMOVE", "ADD", "DELETE")
            if word == "SET":
                found += self.listed(self.assignment)
            elif word == "REMOVE":
                found += self.listed(lambda: ("REMOVE", self.name(), None))
            else:
                found += self.listed(lambda word=word: (word, self.name(), self.operand()))
        changed = [name for _, name, _ in found]
        if len(changed) != len(set(changed)):
            raise Invalid("two paths overlap")
        return found

    def assignment(self) -> tuple[str, str, Operand | None]:
        name = self.name()
        self.take("=")
        value = self.term()
        while self.next in ("+", "-"):
            value = _sum(value, self.take(), self.term())
        return "SET", name, value

    def term(self) -> Operand:
        if self.accept("list_append"):
            self.take("(")
            first = self.operand()
            self.take(",")
            second = self.operand()
            self.take(")")
            return lambda item, values: _joined(first(item, values), second(item, values))
        if not self.accept("if_not_exists"):
            return self.operand()
        self.take("(")
        name = self.name()
        self.take(",")
        other = self.operand()
        self.take(")")
        return lambda item, values: item.get(name) or other(item, values)


def _sum(left: Operand, sign: str, right: Operand) -> Operand:
    def value(item: Item, values: Values) -> Value:
        a, b = left(item, values), right(item, values)
        if a is None or b is None:
            raise Invalid("an operand of the sum is missing")
        return {"N": str(Decimal(a["N"]) + (1 if sign == "+" else -1) * Decimal(b["N"]))}

    return value


def _joined(first: Value | None, second: Value | None) -> Value:
    if first is None or second is None:
        raise Invalid("a list to be joined is missing")
    return {"L": first["L"] + second["L"]}


def _equal(a: Value | None, b: Value | None) -> bool:
    return a is not None and b is not None and comparable(a) == comparable(b)


def _ordered(word: str, a: Value | None, b: Value | None) -> bool:
    if a is None or b is None:
        return False
    (kind_a, raw_a), (kind_b, raw_b) = comparable(a), comparable(b)
    return kind_a == kind_b and _COMPARE[word](raw_a, raw_b)


def _contains(whole: Value | None, part: Value | None) -> bool:
    if whole is None or part is None:
        return False
    (kind, raw), (_, wanted) = comparable(whole), comparable(part)
    return any(Decimal(n) == wanted for n in raw) if kind == "NS" else wanted in raw


def _size(value: Value | None) -> Value | None:
    return None if value is None else {"N": str(len(next(iter(value.values()))))}


def _added(old: Value | None, new: Value) -> Value:
    ((kind, raw),) = new.items()
    if old is None:
        return new
    if kind == "N":
        return {"N": str(Decimal(old["N"]) + Decimal(raw))}
    return {kind: sorted({*old[kind], *raw})}


def _taken(old: Value | None, gone: Value) -> Value | None:
    ((kind, raw),) = gone.items()
    left = sorted(set(old[kind]) - set(raw)) if old else []
    return {kind: left} if left else None


@lru_cache(maxsize=500)
def _condition(text: str, names: tuple[tuple[str, str], ...]) -> tuple[Condition, frozenset[str]]:
    reader = _Reader(text, dict(names))
    found = reader.disjunction()
    if reader.next:
        raise Invalid(f"{reader.next!r} is left over")
    return found, frozenset(reader.used)


@lru_cache(maxsize=500)
def _update(text: str, names: tuple[tuple[str, str], ...]) -> tuple[list[tuple[str, str, Operand | None]], frozenset[str]]:
    reader = _Reader(text, dict(names))
    return reader.clauses(), frozenset(reader.used)


def _names_of(request: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(request.get("ExpressionAttributeNames", {}).items())


def holds(request: Mapping[str, Any], item: Item | None, expression: str = "ConditionExpression") -> bool:
    """Say whether a request's condition holds for the item as it is."""
    if expression not in request:
        return True
    condition, _ = _condition(request[expression], _names_of(request))
    return condition(item or {}, request.get("ExpressionAttributeValues", {}))


def updated(request: Mapping[str, Any], item: Item | None) -> Item:
    """Give the item as a request's update leaves it. Raises: Invalid."""
    clauses, _ = _update(request["UpdateExpression"], _names_of(request))
    old, values = item or dict(request["Key"]), request.get("ExpressionAttributeValues", {})
    new = dict(old)
    for word, name, operand in clauses:
        value = operand(old, values) if operand else None
        if word == "SET" and value is None:
            raise Invalid(f"{name} is set to what does not exist")
        if word == "ADD" and value is not None:
            value = _added(old.get(name), value)
        elif word == "DELETE" and value is not None:
            value = _taken(old.get(name), value)
        if value is None:
            new.pop(name, None)
        else:
            new[name] = value
    return new


def check_values(request: Mapping[str, Any]) -> None:
    """Refuse what DynamoDB refuses: a value that no expression uses, and one that is used and not given. Raises: Invalid."""
    used: set[str] = set()
    names = _names_of(request)
    for name in ("ConditionExpression", "KeyConditionExpression", "FilterExpression"):
        if name in request:
            used |= _condition(request[name], names)[1]
    if "UpdateExpression" in request:
        used |= _update(request["UpdateExpression"], names)[1]
    if used != set(request.get("ExpressionAttributeValues", {})):
        raise Invalid(f"used {sorted(used)}, given {sorted(request.get('ExpressionAttributeValues', {}))}")
