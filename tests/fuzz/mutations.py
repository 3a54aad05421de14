"""Mutate bytes and JSON values at random, each time the same for the same seed."""

import copy
import json
import random
from typing import Any

_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, 10**30, -(10**18), 0.1, "", "x" * 5000, "../../etc/passwd",
    "${oc.env:HOME}", "=1+1", "\x1b[31mred\u202e", "a\nb", "\ud800", [], {}, [[]], {"a": {}},
    float("nan"), float("inf"), "NaN", "2026-13-45", "<script>", "file:///etc/passwd",
)  # fmt: skip


def mutated(content: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Return bytes with one to six changes.

    Args:
        content: what to change.
        others: from which a piece may be taken.
        chance: decides.
    """
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        _change(changed, others, chance)
    return bytes(changed)


def _change(changed: bytearray, others: list[bytes], chance: random.Random) -> None:
    if not changed:
        return
    # Headers are where sizes and kinds stand, and in archives the end.
    end = chance.choice((min(100, len(changed)), len(changed)))
    place = chance.randrange(end)
    if chance.random() < 0.2:
        place = max(0, len(changed) - 1 - place)
    length = min(chance.choice((1, 2, 4, 16, 300)), len(changed) - place)
    match chance.randrange(8):
        case 0:
            changed[place] ^= 1 << chance.randrange(8)
        case 1:
            changed[place] = chance.randrange(256)
        case 2 | 3:
            width = chance.choice((1, 2, 4, 8))
            number = chance.choice(_INTERESTING) & (256**width - 1)
            order = chance.choice(("little", "big"))
            changed[place : place + width] = number.to_bytes(width, order)
        case 4:
            del changed[place:]
        case 5:
            del changed[place : place + length]
        case 6:
            changed[place:place] = changed[place : place + length] * chance.choice((1, 50))
        case _:
            other = chance.choice(others)
            begin = chance.randrange(max(1, len(other)))
            changed[place : place + length] = other[begin : begin + length]


def mutated_json(content: bytes, chance: random.Random) -> bytes:
    """Return JSON in which one to four values were replaced, removed, moved or nested."""
    value = json.loads(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        holder, key = _somewhere(value, chance)
        if holder is None:
            break
        match chance.randrange(5):
            case 0 | 1:
                holder[key] = copy.deepcopy(chance.choice(HOSTILE))
            case 2:
                del holder[key]
            case 3:
                other, there = _somewhere(value, chance)
                if other is not None:
                    holder[key] = copy.deepcopy(other[there])
            case _:
                for _ in range(chance.choice((1, 3, 100))):
                    holder[key] = [holder[key]]
    text = json.dumps(value)
    if chance.random() < 0.05:  # deeper than any reader's stack
        text = text.replace("1", "[" * 100_000 + "]" * 100_000, 1)
    if chance.random() < 0.1:  # a key twice
        text = text.replace("{", '{"status": "completed", "status": 3, ', 1)
    return text.encode()


def _somewhere(value: Any, chance: random.Random) -> tuple[Any, Any]:
    """Choose a list or mapping inside, and a place in it."""
    places = [(None, None)]
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        places += [(holder, key) for key in keys]
        waiting += [holder[key] for key in keys if isinstance(holder[key], dict | list)]
    return chance.choice(places[1:] or places)
