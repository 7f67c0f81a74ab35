"""Trees as LightGBM writes them, checked and written anew before its library reads them.

That library trusts the text: one that was cut or edited can end the process, or
send a prediction out of an array. What we save holds numeric splits only.
"""

from __future__ import annotations

import math
from typing import Final

from neva.errors import BadInputError

__all__ = ["checked_trees"]

_OBJECTIVE: Final = "binary sigmoid:1"
#: What each tree lists by leaf and by split, whole numbers or not; what is of no use
#: to a prediction may be absent.
_OF_LEAVES: Final = {"leaf_value": float, "leaf_weight": float, "leaf_count": int}
_OF_SPLITS: Final = {
    "split_feature": int, "split_gain": float, "threshold": float, "decision_type": int,
    "left_child": int, "right_child": int, "internal_value": float, "internal_weight": float,
    "internal_count": int,
}  # fmt: skip
_REQUIRED: Final = frozenset(
    ("leaf_value", "split_feature", "threshold", "decision_type", "left_child", "right_child")
)
_CATEGORICAL: Final = 1
_DECISION_TYPES: Final = range(16)

#: A tree: its lists, and by how much its leaves were shrunk.
_Tree = tuple[dict[str, list[float]], float]


def checked_trees(text: str, name: str) -> str:
    """Return a text of the same trees that is safe to give to LightGBM.

    Parameters
    ----------
    text : str
        As ``Booster.model_to_string`` writes it, version 4, of a binary outcome.
    name : str
        Of the file, for the message.

    Returns
    -------
    str
        Written by us from what was read; it predicts the same.

    Raises
    ------
    BadInputError
        It is another text, or was cut or edited into what is no tree.
    """
    try:
        return _text_of_trees(*_trees_of_text(text))
    except (ArithmeticError, LookupError, ValueError) as error:
        message = (
            f"{name}: the trees are damaged; found {error if str(error) else 'another text'}; take "
            "the folder as it was saved, or train the model again"
        )
        raise BadInputError(message) from None


def _pairs(lines: list[str]) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in lines)


def _trees_of_text(text: str) -> tuple[int, list[_Tree]]:
    head, mark, rest = text.partition("\n\n")
    given = _pairs(head.splitlines()[1:])
    if not mark or not head.startswith("tree\n") or given["version"] != "v4":
        raise ValueError("no beginning of version 4")
    if (given["num_class"], given["num_tree_per_iteration"]) != ("1", "1"):
        raise ValueError("more than one class")
    if given["objective"] != _OBJECTIVE:
        raise ValueError("another objective")
    features = int(given["max_feature_idx"]) + 1
    if not features == len(given["feature_names"].split()) == len(given["feature_infos"].split()):
        raise ValueError("other features than it counts")
    data, at, trees = rest.encode(), 0, []
    for number, size in enumerate(map(int, given["tree_sizes"].split())):
        block = data[at : at + size].decode()
        if size <= 0 or not block.startswith(f"Tree={number}\n"):
            raise ValueError(f"no tree {number} where it should begin")
        trees.append(_read_tree(_pairs(block.splitlines()), features))
        at += size
    if not trees or not data[at:].startswith(b"end of trees\n"):
        raise ValueError("no end of trees")
    return features, trees


def _read_tree(given: dict[str, str], features: int) -> _Tree:
    leaves = int(given["num_leaves"])
    if leaves < 1 or given["num_cat"] != "0" or given.get("is_linear", "0") != "0":
        raise ValueError("a tree of another kind")
    shrinkage = float(given["shrinkage"])
    lists = _lists(given, leaves)
    if not math.isfinite(shrinkage):
        raise ValueError("a shrinkage that is no number")
    _check_splits(lists, leaves, features)
    return lists, shrinkage


def _lists(given: dict[str, str], leaves: int) -> dict[str, list[float]]:
    """Read the numbers of leaves and splits, one for each."""
    lists: dict[str, list[float]] = {}
    for kinds, length in ((_OF_LEAVES, leaves), (_OF_SPLITS, leaves - 1)):
        for key, kind in kinds.items():
            values = [kind(one) for one in given.get(key, "").split()]
            if not values and (key not in _REQUIRED or not length):
                values = [kind(0)] * length
            if len(values) != length:
                raise ValueError(f"{len(values)} of {key} where there are {length}")
            if not all(map(math.isfinite, values)):
                raise ValueError(f"a {key} that is no number")
            lists[key] = values
    return lists


def _check_splits(lists: dict[str, list[float]], leaves: int, features: int) -> None:
    """Refuse splits by what there is not, and branches that make no tree."""
    splits = leaves - 1
    if not all(0 <= one < features for one in lists["split_feature"]):
        raise ValueError("a split by a feature that there is not")
    kinds_of_splits = [int(one) for one in lists["decision_type"]]
    if any(one not in _DECISION_TYPES or one & _CATEGORICAL for one in kinds_of_splits):
        raise ValueError("a split of another kind")
    # Every leaf, and every split but the first, is the child of one split before it.
    children = lists["left_child"] + lists["right_child"]
    if splits and sorted(children) != [*range(-leaves, 0), *range(1, splits)]:
        raise ValueError("branches that make no tree")
    if any(child <= at % splits for at, child in enumerate(children) if child > 0):
        raise ValueError("branches that run in a circle")


def _text_of_trees(features: int, trees: list[_Tree]) -> str:
    blocks = []
    for number, (lists, shrinkage) in enumerate(trees):
        lines = [f"Tree={number}", f"num_leaves={len(lists['leaf_value'])}", "num_cat=0"]
        lines += [f"{key}={' '.join(map(repr, lists[key]))}" for key in (*_OF_SPLITS, *_OF_LEAVES)]
        blocks.append("\n".join([*lines, "is_linear=0", f"shrinkage={shrinkage!r}", "", "", ""]))
    head = [
        "tree", "version=v4", "num_class=1", "num_tree_per_iteration=1", "label_index=0",
        f"max_feature_idx={features - 1}", f"objective={_OBJECTIVE}",
        f"feature_names={' '.join(f'Column_{k}' for k in range(features))}",
        f"feature_infos={' '.join(['none'] * features)}",
        f"tree_sizes={' '.join(str(len(block.encode())) for block in blocks)}",
    ]  # fmt: skip
    return "\n".join([*head, "", "".join(blocks)]) + "end of trees\n"
