"""As much of CEL, the language of x-kubernetes-validations, as CRDs with plain rules need.

Operators, has(), size(), the string and list functions and macros below. What is not understood is an
error when the CRD is posted, never a rule that holds by itself.
"""

import re

TOKEN = re.compile(r"""\s*(?:(?P<num>\d+\.\d+|\d+)|(?P<str>r?"(?:\\.|[^"\\])*"|r?'(?:\\.|[^'\\])*')
    |(?P<id>[A-Za-z_]\w*)|(?P<op>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]]))""", re.X)
LEVELS = [["||"], ["&&"], ["==", "!=", "<", "<=", ">", ">=", "in"], ["+", "-"], ["*", "/", "%"]]
METHODS = {"startsWith": lambda s, x: s.startswith(x), "endsWith": lambda s, x: s.endswith(x),
           "contains": lambda s, x: x in s, "size": len, "lowerAscii": lambda s: s.lower(),
           "upperAscii": lambda s: s.upper(), "trim": lambda s: s.strip(),
           "split": lambda s, x: s.split(x), "matches": lambda s, x: bool(re.search(x, s))}
FUNCTIONS = {"size": len, "int": int, "string": str, "double": float,
             "matches": lambda s, x: bool(re.search(x, s))}
MACROS = ("all", "exists", "exists_one", "filter", "map")
ABSENT = object()


class CelError(Exception):
    pass


def _tokens(text):
    found, at = [], 0
    while text[at:].strip():
        match = TOKEN.match(text, at)
        if not match:
            raise CelError(f"rule not understood at: {text[at:].strip()}")
        found.append((match.lastgroup, match.group(match.lastgroup)))
        at = match.end()
    return found + [("end", "")]


def _literal(token):
    raw = token.startswith("r")
    body = token[2:-1] if raw else token[1:-1]
    return body if raw else re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[1]), body)


class _Parser:
    """Turns a rule into nested functions of the variables."""

    def __init__(self, text):
        self.tokens, self.at = _tokens(text), 0

    def peek(self):
        return self.tokens[self.at][1]

    def take(self, want=None):
        kind, token = self.tokens[self.at]
        if want is not None and token != want:
            raise CelError(f"rule not understood: {want!r} expected, {token!r} found")
        self.at += 1
        return kind, token

    def whole(self):
        found = self.ternary()
        if self.tokens[self.at][0] != "end":
            raise CelError(f"rule not understood at: {self.peek()}")
        return found

    def ternary(self):
        test = self.binary(0)
        if self.peek() != "?":
            return test
        self.take()
        yes = self.ternary()
        self.take(":")
        no = self.ternary()
        return lambda v: yes(v) if test(v) else no(v)

    def binary(self, level):
        if level == len(LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while self.peek() in LEVELS[level]:
            op = self.take()[1]
            left = _operation(op, left, self.binary(level + 1))
        return left

    def unary(self):
        if self.peek() == "!":
            self.take()
            inner = self.unary()
            return lambda v: not inner(v)
        if self.peek() == "-":
            self.take()
            inner = self.unary()
            return lambda v: -inner(v)
        return self.postfix(self.primary())

    def arguments(self):
        self.take("(")
        found = []
        while self.peek() != ")":
            found.append(self.ternary())
            if self.peek() == ",":
                self.take()
        self.take(")")
        return found

    def primary(self):
        kind, token = self.take()
        if kind == "num":
            number = float(token) if "." in token else int(token)
            return lambda v: number
        if kind == "str":
            text = _literal(token)
            return lambda v: text
        if token == "(":
            inner = self.ternary()
            self.take(")")
            return inner
        if token == "[":
            items = []
            while self.peek() != "]":
                items.append(self.ternary())
                if self.peek() == ",":
                    self.take()
            self.take("]")
            return lambda v: [item(v) for item in items]
        if token in ("true", "false", "null"):
            constant = {"true": True, "false": False, "null": None}[token]
            return lambda v: constant
        if kind != "id":
            raise CelError(f"rule not understood at: {token}")
        if self.peek() == "(":
            return self.function(token)
        return lambda v: _variable(v, token)

    def function(self, name):
        arguments = self.arguments()
        if name == "has" and len(arguments) == 1:
            return lambda v: arguments[0](v) is not ABSENT
        if name not in FUNCTIONS:
            raise CelError(f"function not known: {name}")
        return lambda v: FUNCTIONS[name](*[_there(a(v)) for a in arguments])

    def postfix(self, value):
        while self.peek() in (".", "["):
            if self.take()[1] == "[":
                index = self.ternary()
                self.take("]")
                value = _index(value, index)
                continue
            name = self.take()[1]
            if self.peek() != "(":
                value = _field(value, name)
            elif name in MACROS:
                value = self.macro(value, name)
            elif name in METHODS:
                value = _method(value, name, self.arguments())
            else:
                raise CelError(f"function not known: {name}")
        return value

    def macro(self, value, name):
        self.take("(")
        variable = self.take()[1]
        self.take(",")
        test = self.ternary()
        self.take(")")

        def run(v):
            items = _there(value(v))
            found = [(item, test({**v, variable: item})) for item in items]
            hits = [item for item, result in found if result is True]
            return {"all": len(hits) == len(found), "exists": bool(hits),
                    "exists_one": len(hits) == 1, "filter": hits,
                    "map": [result for _, result in found]}[name]
        return run


def _variable(variables, name):
    if name not in variables:
        raise CelError(f"not known: {name}")
    return variables[name]


def _there(value):
    if value is ABSENT:
        raise CelError("no such key")
    return value


def _field(value, name):
    def run(v):
        found = _there(value(v))
        return found.get(name, ABSENT) if isinstance(found, dict) else ABSENT
    return run


def _index(value, index):
    def run(v):
        found, key = _there(value(v)), _there(index(v))
        try:
            return found[key]
        except (KeyError, IndexError):
            return ABSENT
    return run


def _method(value, name, arguments):
    return lambda v: METHODS[name](_there(value(v)), *[_there(a(v)) for a in arguments])


def _operation(op, left, right):
    if op in ("&&", "||"):
        return lambda v: _lazy(op, left, right, v)
    plain = {"==": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b,
             "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
             "in": lambda a, b: a in b, "+": lambda a, b: a + b, "-": lambda a, b: a - b,
             "*": lambda a, b: a * b, "%": lambda a, b: a % b,
             "/": lambda a, b: a // b if isinstance(a, int) else a / b}[op]
    return lambda v: plain(_there(left(v)), _there(right(v)))


def _lazy(op, left, right, variables):
    """An error on one side does not matter where the other decides: CEL's rule."""
    decides = op == "||"
    try:
        if _there(left(variables)) is decides:
            return decides
    except CelError:
        if _there(right(variables)) is decides:
            return decides
        raise
    return _there(right(variables))


def parse(rule):
    """The rule as a function of {"self": ..., "oldSelf": ...}, or a CelError."""
    return _Parser(rule).whole()


def mentions(rule, name):
    return ("id", name) in _tokens(rule)


def evaluate(rule, variables):
    """True, or whatever else the rule says; an error while it runs counts as not true."""
    try:
        return parse(rule)(variables)
    except (CelError, TypeError, ValueError, AttributeError):
        return False
