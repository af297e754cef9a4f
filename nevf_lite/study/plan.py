"""What a study is to do: `Study`, from a YAML file or from Python, checked before anything runs."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields
from numbers import Integral, Real

from nevf_lite.study.methods import find_method


@dataclass(frozen=True)
class PairSpec:
    """Which two brains. fixed, moving: subjects; seed, ndim: of a simulated pair."""

    dataset: str
    fixed: str = ""
    moving: str = ""
    seed: int = 0
    ndim: int = 3

    @property
    def names(self) -> dict[str, str]:
        """As in the rows: dataset, fixed and moving; a simulated pair goes by its seed."""
        if self.dataset != "simulated":
            return {"dataset": self.dataset, "fixed": self.fixed, "moving": self.moving}
        flat = " 2-D" if self.ndim == 2 else ""
        return {"dataset": f"simulated{flat}", "fixed": f"s{self.seed}", "moving": f"s{self.seed}"}

    def __str__(self) -> str:
        return "{dataset} {fixed} <- {moving}".format(**self.names)


@dataclass(frozen=True)
class MethodSpec:
    """One row of the table: a method with its options, and what to call it.

    spacing, threads, seed: the study's unless given. trajectory: record the Dice every so many
    iterations (0: never). options: those of the method itself.
    """

    method: str
    label: str
    spacing: float | None
    threads: int
    seed: int
    trajectory: int = 0
    options: Mapping = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """12 hex digits of what was asked for: not the label, not the threads, not the defaults."""
        told = {"method": self.method, "spacing": self.spacing, "seed": self.seed}
        told |= {"trajectory": self.trajectory} if self.trajectory else {}
        return hashlib.sha256(canonical({**told, "options": self.options}).encode()).hexdigest()[
            :12
        ]


@dataclass(frozen=True)
class Job:
    """One method on one pair."""

    study: str
    pair: PairSpec
    method: MethodSpec

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes two jobs the same: dataset, fixed, moving and the hash of the method."""
        return (*self.pair.names.values(), self.method.hash)

    def __str__(self) -> str:
        return f"{self.pair}, {self.method.label}"


@dataclass(frozen=True)
class Study:
    """Pairs times methods.

    name: of the study, in every row. pairs: `PairSpec`, or dictionaries as in the YAML file:
    {"dataset": ..., "fixed": ..., "moving": ...}, where lists mean all combinations;
    {"dataset": ..., "split": "test"} for the nine pairs of the paper's protocol; {"dataset":
    "simulated", "seed": ..., "ndim": 2}. methods: `MethodSpec`, or dictionaries: {"method": ...,
    "label": ..., options}. spacing: mm that the methods work at (None: the fixed image's own);
    scores are always computed at the label maps' own resolution. threads: of each job.

    Raises ValueError that names the key and what was wanted.
    """

    name: str
    pairs: Sequence = ()
    methods: Sequence = ()
    spacing: float | None = None
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError(f"name: wanted a word for the study, got {self.name!r}")
        _check_common(self.spacing, self.threads, self.seed)
        pairs = [p for where, entry in _entries(self.pairs, "pairs") for p in _pairs(entry, where)]
        methods = [self._method(entry, where) for where, entry in _entries(self.methods, "methods")]
        _unique(pairs, lambda p: p, "pairs")
        _unique(methods, lambda m: m.hash, "methods")
        _unique(methods, lambda m: m.label, "methods", "label: ")
        object.__setattr__(self, "pairs", tuple(pairs))
        object.__setattr__(self, "methods", tuple(methods))

    @classmethod
    def from_yaml(cls, path: str | os.PathLike) -> Study:
        """Read a study; ValueError names the file, the key and what was wanted."""
        import yaml

        from nevf_lite.files import existing_file

        path = existing_file(path, "study")
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
        try:
            if not isinstance(document, Mapping):
                raise ValueError("wanted name:, pairs: and methods:")
            known = [f.name for f in dataclass_fields(cls)]
            _known_keys(document, known, "")
            return cls(**{"name": path.stem, **document})
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def jobs(self) -> list[Job]:
        """All jobs, those of a pair together: an interrupted study has complete pairs."""
        return [Job(self.name, pair, m) for pair in self.pairs for m in self.methods]

    def _method(self, entry, where: str) -> MethodSpec:
        if isinstance(entry, MethodSpec):
            return entry
        if not isinstance(entry, Mapping) or "method" not in entry:
            raise ValueError(f"{where}: wanted {{method: NAME, ...}}, got {entry!r}")
        rest = dict(entry)
        try:
            method = find_method(rest.pop("method"))
            common = {k: rest.pop(k, getattr(self, k)) for k in ("spacing", "threads", "seed")}
            _check_common(**common)
            label, trajectory = rest.pop("label", None), rest.pop("trajectory", 0)
            if not _whole(trajectory) or trajectory < 0:
                raise ValueError(f"trajectory: wanted a number of iterations, got {trajectory!r}")
            if trajectory and not method.watchable:
                raise ValueError(f"trajectory: {method.name} cannot be watched")
            method.check(rest)
        except ValueError as error:
            raise ValueError(f"{where}.{error}") from error
        shown = ", ".join(f"{k} {canonical(v)}" for k, v in rest.items()).replace('"', "")
        label = label or " ".join(filter(None, [method.title, shown]))
        return MethodSpec(method.name, str(label), **common, trajectory=trajectory, options=rest)


def canonical(value) -> str:
    """JSON with sorted keys, in which 10 and 10.0 are the same; ValueError for what has none."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value):
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"options: wanted numbers, words and lists, got {value!r}")


def _pairs(entry, where: str) -> list[PairSpec]:
    """The pairs that one entry of `pairs` means, subjects known to exist where the data is here."""
    if isinstance(entry, PairSpec):
        return [entry]
    if not isinstance(entry, Mapping) or "dataset" not in entry:
        raise ValueError(f"{where}: wanted {{dataset: NAME, ...}}, got {entry!r}")
    from nevf_lite.data import DATASETS, available, test_pairs

    name, rest = entry["dataset"], {k: v for k, v in entry.items() if k != "dataset"}
    if name not in DATASETS:
        raise ValueError(f"{where}.dataset: wanted one of {', '.join(DATASETS)}, got {name!r}")
    if name == "simulated":
        _known_keys(rest, ("seed", "ndim"), f"{where}.")
        seeds, ndim = _list(rest.get("seed", 0)), rest.get("ndim", 3)
        if ndim not in (2, 3) or not all(_whole(s) and s >= 0 for s in seeds):
            raise ValueError(f"{where}: wanted whole seeds and ndim 2 or 3, got {rest}")
        return [PairSpec(name, seed=seed, ndim=ndim) for seed in seeds]
    _known_keys(rest, ("split", "fixed", "moving"), f"{where}.")
    if "split" in rest:
        if rest != {"split": "test"}:
            raise ValueError(f"{where}.split: wanted 'test' and no subjects, got {rest}")
        found = test_pairs(name)
    else:
        default = DATASETS[name].pair
        fixed, moving = (
            [str(s) for s in _list(rest.get(role, default[end]))]
            for role, end in (("fixed", 0), ("moving", -1))
        )
        found = [(f, m) for f, m in itertools.product(fixed, moving) if f != m]
        if not found:
            raise ValueError(f"{where}: a brain with itself is no pair; got {rest}")
    here = next(one for one in available() if one.dataset.name == name)
    for subject in dict.fromkeys(itertools.chain(*found)) if here.here else ():
        if subject not in here.subjects:
            some = ", ".join(here.subjects[:20]) + (" ..." if len(here.subjects) > 20 else "")
            raise ValueError(f"{where}: {name} has no subject {subject!r}; it has {some}")
    return [PairSpec(name, *subjects) for subjects in found]


def _entries(values, name: str):
    if not isinstance(values, list | tuple) or not values:
        raise ValueError(f"{name}: wanted a list of one or more, got {values!r}")
    return [(f"{name}[{i}]", value) for i, value in enumerate(values)]


def _unique(items, what, name: str, of: str = "") -> None:
    seen: dict = {}
    for i, item in enumerate(items):
        first = seen.setdefault(what(item), i)
        if first != i:
            shown = item.label if isinstance(item, MethodSpec) else item
            raise ValueError(f"{name}: {of}{shown} occurs twice")


def _known_keys(given: Mapping, known: Sequence[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise ValueError(f"{where}{key}: no such key; wanted {', '.join(known)}")


def _check_common(spacing, threads, seed) -> None:
    if spacing is not None and not (_real(spacing) and 0.1 <= spacing <= 50):
        raise ValueError(f"spacing: wanted mm between 0.1 and 50, or null, got {spacing!r}")
    if not _whole(threads) or threads < 1:
        raise ValueError(f"threads: wanted 1 or more, got {threads!r}")
    if not _whole(seed) or seed < 0:
        raise ValueError(f"seed: wanted a whole number, 0 or more, got {seed!r}")


def _list(value) -> list:
    return list(value) if isinstance(value, list | tuple) else [value]


def _whole(value) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _real(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
