"""Saved models: a folder that says what it is, and is refused when it is damaged.

``model.json`` holds features and outcome as definitions with their hashes, the
version of the data, figures, and a hash over everything; members stand beside
it as text of LightGBM or as skops files. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

from neva.definitions.documents import Feature, content_hash, from_json, to_json
from neva.errors import BadInputError, ConflictError, NevaError, NotFoundError
from neva.models.fitted_model import Model, Variant
from neva.models.members import HazardMember, LinearMember, Member, TreeMember
from neva.models.recalibration import RecalibrationMap
from neva.models.training import Ensemble
from neva.models.tree_text import checked_trees

__all__ = ["FORMAT", "TRUSTED", "artefact_hash", "load_artefact", "save_artefact"]

FORMAT: Final = 1
NAME: Final = "model.json"
#: Types that a skops file of a model may hold beside those that skops itself trusts.
TRUSTED: Final = ("neva.models.estimators.signed_log", "numpy.dtype")


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def _write_member(member: Member, folder: Path, name: str) -> dict[str, Any]:
    if isinstance(member, HazardMember):
        inner = _write_member(member.inner, folder, name)
        return {
            "kind": "hazard",
            "inner": inner,
            "period_hours": member.period_hours,
            "periods": member.periods,
            "time_column": member.time_column,
        }
    if isinstance(member, TreeMember):
        file = f"{name}.lightgbm.txt"
        text = member.booster.model_to_string(num_iteration=-1)
        (folder / file).write_text(text, encoding="utf-8")
        return {"kind": "trees", "file": file}
    import skops.io

    file = f"{name}.skops"
    skops.io.dump(member.pipeline, folder / file)
    _trusted((folder / file).read_bytes(), file)
    return {"kind": "linear", "file": file}


def _trusted(data: bytes, name: str) -> bytes:
    """Return the bytes of a skops file if it holds no type that a model may not hold."""
    import skops.io

    unknown = sorted(set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED))
    if unknown:
        message = (
            f"{name}: it holds types that a model may not; found {', '.join(unknown)}; make "
            "the model from logistic-regression, boosted-trees or discrete-time-hazard"
        )
        raise BadInputError(message)
    return data


def _read_member(given: Mapping[str, Any], contents: Mapping[str, bytes], folder: Path) -> Member:
    kind = given.get("kind")
    if kind == "hazard":
        inner = _read_member(given["inner"], contents, folder)
        assert not isinstance(inner, HazardMember)
        return HazardMember(
            inner, float(given["period_hours"]), int(given["periods"]), int(given["time_column"])
        )
    if kind == "trees":
        import lightgbm

        text = checked_trees(contents[given["file"]].decode("utf-8"), given["file"])
        return TreeMember(lightgbm.Booster(model_str=text))
    if kind == "linear":
        import skops.io

        data = _trusted(contents[given["file"]], given["file"])
        return LinearMember(skops.io.loads(data, trusted=list(TRUSTED)))
    message = (
        f"{folder / NAME}: a member of an unknown kind; found {kind!r}; use a newer Neva or save "
        "the model again"
    )
    raise BadInputError(message)


def _definition(one: Feature) -> dict[str, Any]:
    return {"hash": content_hash(one), "definition": json.loads(to_json(one))}


_PLAIN: Final = (
    "id",
    "version",
    "title",
    "outcome_words",
    "horizon_hours",
    "landmark",
    "units",
    "data",
    "candidate",
    "figures",
    "threshold",
    "demonstration_only",
    "lock_reason",
    "seed",
    "notes",
)


def save_artefact(model: Model, path: Path) -> str:
    """Write a model to a folder; return its hash.

    Parameters
    ----------
    model : Model
    path : Path
        A new folder, or one that holds a model: that is replaced as a whole.

    Raises
    ------
    ConflictError
        The folder holds something else.
    BadInputError
        A member is of a type that may not be saved.
    """
    is_other = path.exists() and (
        not path.is_dir() or (any(path.iterdir()) and not (path / NAME).exists())
    )
    if is_other:
        message = f"{path}: there is something else; found no {NAME} in it; name another folder"
        raise ConflictError(message)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        members = _write_members(model.ensemble, draft, "member")
        variants = [
            {
                "features": list(one.ensemble.features),
                "candidate": one.candidate,
                "figures": one.figures,
                "recalibration": one.ensemble.recalibration.to_json(),
                "members": _write_members(one.ensemble, draft, f"variant-{k}-member"),
            }
            for k, one in enumerate(model.variants)
        ]
        files = {one.name: _sha(one.read_bytes()) for one in sorted(draft.iterdir())}
        content: dict[str, Any] = {
            "neva_model": FORMAT,
            **{name: getattr(model, name) for name in _PLAIN},
            "features": [_definition(one) for one in model.features],
            "outcome": _definition(model.outcome),
            "history": list(model.history),
            "without": list(model.without),
            "members": members,
            "recalibration": model.ensemble.recalibration.to_json(),
            "variants": variants,
            "files": files,
        }
        made = _sha(_canonical(content))
        text = json.dumps({**content, "hash": made}, indent=1, ensure_ascii=False, allow_nan=False)
        (draft / NAME).write_text(text + "\n", encoding="utf-8")
        draft.chmod(0o777 & ~_umask())
        if path.exists():
            old = path.with_name(f".{path.name}-old-{os.getpid()}")
            path.rename(old)
            draft.rename(path)
            shutil.rmtree(old)
        else:
            draft.rename(path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return made


def _write_members(ensemble: Ensemble, folder: Path, name: str) -> list[dict[str, Any]]:
    return [
        {**_write_member(member, folder, f"{name}-{k}"), "columns": list(columns)}
        for k, (member, columns) in enumerate(ensemble.members)
    ]


def _read_ensemble(
    given: Mapping[str, Any], ids: tuple[str, ...], contents: Mapping[str, bytes], folder: Path
) -> Ensemble:
    members = tuple(
        (_read_member(one, contents, folder), tuple(int(k) for k in one["columns"]))
        for one in given["members"]
    )
    return Ensemble(ids, members, RecalibrationMap.from_json(given["recalibration"]))


def _umask() -> int:
    found = os.umask(0)
    os.umask(found)
    return found


def _feature(given: Mapping[str, Any], where: str) -> Feature:
    made = from_json(json.dumps(given["definition"]), name=where)
    if not isinstance(made, Feature) or content_hash(made) != given["hash"]:
        message = (
            f"{where}: a definition differs from its hash; found {made.id}; take the folder as it "
            "was saved, or train the model again"
        )
        raise ConflictError(message)
    return made


def load_artefact(path: Path, features: Mapping[str, Feature] | None = None) -> Model:
    """Read a saved model, if it is whole and fits its hash.

    The hash finds what was damaged, copied in part or edited by mistake. It is no
    signature: who can write the folder can write the hash too.

    Parameters
    ----------
    path : Path
        The folder.
    features : mapping of str to Feature, optional
        The definitions in use here, by id: each feature of the model must be among
        them with the same content. None: the saved definitions are used.

    Returns
    -------
    Model

    Raises
    ------
    NotFoundError
        There is no model.
    BadInputError
        It cannot be read, a file of it is missing or differs from what was saved,
        or it holds types that a model may not.
    ConflictError
        A definition differs from the one in use here, or is missing here.
    """
    file = path / NAME
    if not file.is_file():
        message = f"{path}: no saved model; found no {NAME}; give the folder that --out wrote"
        raise NotFoundError(message)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        stated_hash = content.pop("hash")
        found = content["neva_model"]
    except (ValueError, KeyError, TypeError, AttributeError):
        message = f"{file}: not a saved model; found other JSON, or none; save the model again"
        raise BadInputError(message) from None
    if found != FORMAT:
        message = f"{file}: format {found!r} is not known; this Neva reads {FORMAT}; update Neva"
        raise BadInputError(message)
    with _damage_as_error(file):
        contents = _verified(path, content, stated_hash)
        return _loaded(path, content, contents, features)


@contextmanager
def _damage_as_error(file: Path) -> Iterator[None]:
    """Tell what the parts of a folder raise when they are not as they were saved."""
    import lightgbm

    try:
        yield
    except NevaError:
        raise
    except (
        ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RecursionError,
        TypeError, ValueError, BadZipFile, lightgbm.basic.LightGBMError,
    ) as error:  # fmt: skip
        message = (
            f"{file}: the saved model is damaged; found {type(error).__name__} while reading it; "
            "take the folder as it was saved, or train the model again"
        )
        raise BadInputError(message) from None


def _loaded(
    path: Path,
    content: Mapping[str, Any],
    contents: Mapping[str, bytes],
    features: Mapping[str, Feature] | None,
) -> Model:
    file = path / NAME
    loaded = tuple(_feature(one, str(file)) for one in content["features"])
    for one in loaded if features is not None else ():
        assert features is not None
        here = features.get(one.id)
        if here is None:
            message = (
                f"{file}: a feature is not defined here; found no {one.id}; install the programme "
                "that the model was made with"
            )
            raise ConflictError(message)
        if content_hash(here) != content_hash(one):
            message = (
                f"{file}: a feature means something else here; found {one.id} {here.version}, the "
                f"model was made with {one.version} of other content; train the model again"
            )
            raise ConflictError(message)
    ids = tuple(one.id for one in loaded)
    variants = tuple(
        Variant(
            _read_ensemble(one, tuple(one["features"]), contents, path),
            one["candidate"],
            one["figures"],
        )
        for one in content["variants"]
    )
    return Model(
        **{name: content[name] for name in _PLAIN},
        features=loaded,
        outcome=_feature(content["outcome"], str(file)),
        ensemble=_read_ensemble(content, ids, contents, path),
        variants=variants,
        history=tuple(content["history"]),
        without=tuple(content["without"]),
    )


def _verified(path: Path, content: Mapping[str, Any], stated_hash: str) -> dict[str, bytes]:
    """Read the members' files once, and compare everything with its hash."""
    contents: dict[str, bytes] = {}
    for name, expected in content["files"].items():
        one = path / name
        if Path(name).name != name or not one.is_file():
            message = f"{path}: a file of the model is missing; found no {name}; copy it whole"
            raise BadInputError(message)
        contents[name] = one.read_bytes()
        if _sha(contents[name]) != expected:
            message = (
                f"{one}: it was changed; found another content than {NAME} names; take the folder "
                "as it was saved"
            )
            raise BadInputError(message)
    if _sha(_canonical(content)) != stated_hash:
        message = (
            f"{path / NAME}: it was changed; found content that differs from its hash; take the "
            "folder as it was saved"
        )
        raise BadInputError(message)
    return contents


def artefact_hash(path: Path) -> str:
    """Return the hash of a saved model, as :func:`save_artefact` told it.

    It is not verified here; :func:`load_artefact` does that.

    Raises
    ------
    NotFoundError
        There is no model.
    """
    file = path / NAME
    if not file.is_file():
        message = f"{path}: no saved model; found no {NAME}; give the folder that --out wrote"
        raise NotFoundError(message)
    with _damage_as_error(file):
        return str(json.loads(file.read_text(encoding="utf-8"))["hash"])
