"""Documents with something in them that nobody expects."""

import copy

NONSENSE = [
    None, True, [], {}, "", "\ud800", "\0", "../../x", -1, 0, 1.5, 10**30, -(10**30), 1e308,
    float("nan"), float("inf"), [[]], [[1], [2, 3]], ["0"], "x" * 70_000,
]  # fmt: skip


def with_nonsense(document, random):
    """The document with one value or key, anywhere in it, replaced, removed or repeated."""
    document = copy.deepcopy(document)
    place = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = keys[random.integers(len(keys))]
        inside = place[key]
        if not (isinstance(inside, dict | list) and inside and random.integers(3)):
            break
        place = inside
    kind = random.integers(4)
    if kind == 0:
        del place[key]
    elif kind == 1 and isinstance(place, dict):
        place["\ud800" + str(key)] = place.pop(key)
    else:
        place[key] = NONSENSE[random.integers(len(NONSENSE))]
    return document
