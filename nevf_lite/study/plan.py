"""The plan of a study: `Study`, from a YAML file or from Python, checked before anything runs."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral, Real

from nevf_lite.study.methods import find_method
from nevf_lite.study.rows import canonical_json


@dataclass(frozen=True)
class PairSpec:
    """The two brains of a job. fixed, moving: subjects. seed, ndim: of a simulated pair."""

    dataset: str
    fixed: str = ""
    moving: str = ""
    seed: int = 0
    ndim: int = 3

    @property
    def names(self) -> dict[str, str]:
        """The columns dataset, fixed and moving; the subjects of a simulated pair are its seed."""
        if self.dataset != "simulated":
            return {"dataset": self.dataset, "fixed": self.fixed, "moving": self.moving}
        dataset = "simulated 2-D" if self.ndim == 2 else "simulated"
        return {"dataset": dataset, "fixed": f"s{self.seed}", "moving": f"s{self.seed}"}

    def __str__(self) -> str:
        return "{dataset} {fixed} <- {moving}".format(**self.names)


@dataclass(frozen=True)
class MethodSpec:
    """One row of the table: a method with its options and its label.

    spacing, threads, seed: those of the study, unless the method sets its own. trajectory: number
    of iterations between two records of the Dice, 0 for none. options: those of the method itself.
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
        """12 hex digits of the settings. Label, threads and defaults are not part of it."""
        settings = {"method": self.method, "spacing": self.spacing, "seed": self.seed}
        if self.trajectory:
            settings["trajectory"] = self.trajectory
        settings["options"] = self.options
        return hashlib.sha256(canonical_json(settings).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Job:
    """One method on one pair."""

    study: str
    pair: PairSpec
    method: MethodSpec

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What identifies a job: dataset, fixed, moving and the hash of the method."""
        return (*self.pair.names.values(), self.method.hash)

    def __str__(self) -> str:
        return f"{self.pair}, {self.method.label}"


@dataclass(frozen=True)
class Study:
    """Pairs times methods.

    name: of the study, in every row. pairs: `PairSpec`, or dictionaries as in the YAML file:
    {"dataset": ..., "fixed": ..., "moving": ...}, where lists mean all combinations;
    {"dataset": ..., "split": "test"} for the nine pairs of the test split; {"dataset":
    "simulated", "seed": ..., "ndim": 2}. methods: `MethodSpec`, or dictionaries: {"method": ...,
    "label": ..., options}. spacing: of the grid that the methods work on, mm (None: the fixed
    image's grid); scores are always computed on the label maps' grid. threads: of each job.

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
        pairs = [p for key, entry in _entries(self.pairs, "pairs") for p in _pair_specs(entry, key)]
        methods = [self._method(entry, key) for key, entry in _entries(self.methods, "methods")]
        _check_unique(pairs, lambda p: p, "pairs: ")
        _check_unique(methods, lambda m: m.hash, "methods: ")
        _check_unique(methods, lambda m: m.label, "methods: label: ")
        object.__setattr__(self, "pairs", tuple(pairs))
        object.__setattr__(self, "methods", tuple(methods))

    @classmethod
    def from_yaml(cls, path: str | os.PathLike) -> Study:
        """Read a study; ValueError names the file, the key and what was wanted."""
        import yaml

        from nevf_lite.scans.files import existing_file

        path = existing_file(path, "study")
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
        try:
            if not isinstance(document, Mapping):
                raise ValueError("wanted name:, pairs: and methods:")
            _check_keys(document, [f.name for f in fields(cls)], "")
            return cls(**{"name": path.stem, **document})
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def jobs(self) -> list[Job]:
        """All jobs, pair by pair, so that an interrupted study has complete pairs."""
        return [Job(self.name, pair, m) for pair in self.pairs for m in self.methods]

    def _method(self, entry, key: str) -> MethodSpec:
        if isinstance(entry, MethodSpec):
            return entry
        if not isinstance(entry, Mapping) or "method" not in entry:
            raise ValueError(f"{key}: wanted {{method: NAME, ...}}, got {entry!r}")
        options = dict(entry)
        try:
            method = find_method(options.pop("method"))
            common = {k: options.pop(k, getattr(self, k)) for k in ("spacing", "threads", "seed")}
            _check_common(**common)
            label, trajectory = options.pop("label", None), options.pop("trajectory", 0)
            if not _is_integer(trajectory) or trajectory < 0:
                raise ValueError(f"trajectory: wanted a number of iterations, got {trajectory!r}")
            if trajectory and not method.watchable:
                raise ValueError(f"trajectory: {method.name} cannot be watched")
            method.check(options)
        except ValueError as error:
            raise ValueError(f"{key}.{error}") from error
        label = label or method.label(options, common["spacing"])
        return MethodSpec(method.name, str(label), **common, trajectory=trajectory, options=options)


def _pair_specs(entry, key: str) -> list[PairSpec]:
    """The pairs that one entry of `pairs` means; subjects are checked where the data is present."""
    if isinstance(entry, PairSpec):
        return [entry]
    if not isinstance(entry, Mapping) or "dataset" not in entry:
        raise ValueError(f"{key}: wanted {{dataset: NAME, ...}}, got {entry!r}")
    from nevf_lite.data import DATASETS, test_pairs

    name, options = entry["dataset"], {k: v for k, v in entry.items() if k != "dataset"}
    if name not in DATASETS:
        raise ValueError(f"{key}.dataset: wanted one of {', '.join(DATASETS)}, got {name!r}")
    if name == "simulated":
        _check_keys(options, ("seed", "ndim"), f"{key}.")
        seeds, ndim = _as_list(options.get("seed", 0)), options.get("ndim", 3)
        if ndim not in (2, 3) or not all(_is_integer(s) and s >= 0 for s in seeds):
            raise ValueError(f"{key}: wanted whole seeds and ndim 2 or 3, got {options}")
        return [PairSpec(name, seed=seed, ndim=ndim) for seed in seeds]
    _check_keys(options, ("split", "fixed", "moving"), f"{key}.")
    if "split" in options:
        if options != {"split": "test"}:
            raise ValueError(f"{key}.split: wanted 'test' and no subjects, got {options}")
        subjects = test_pairs(name)
    else:
        default = DATASETS[name].pair
        fixed, moving = (
            [str(subject) for subject in _as_list(options.get(role, default[index]))]
            for role, index in (("fixed", 0), ("moving", -1))
        )
        subjects = [(f, m) for f, m in itertools.product(fixed, moving) if f != m]
        if not subjects:
            raise ValueError(f"{key}: a brain with itself is no pair; got {options}")
    _check_subjects(name, dict.fromkeys(itertools.chain(*subjects)), key)
    return [PairSpec(name, *pair) for pair in subjects]


def _check_subjects(name: str, subjects: Iterable[str], key: str) -> None:
    from nevf_lite.data import available

    dataset = next(entry for entry in available() if entry.dataset.name == name)
    if not dataset.available:  # a cluster may have it
        return
    for subject in subjects:
        if subject not in dataset.subjects:
            more = " ..." if len(dataset.subjects) > 20 else ""
            examples = ", ".join(dataset.subjects[:20]) + more
            raise ValueError(f"{key}: {name} has no subject {subject!r}; it has {examples}")


def _entries(values, name: str) -> list[tuple[str, object]]:
    """Each entry of a list of the study with its key, such as "pairs[0]"."""
    if not isinstance(values, list | tuple) or not values:
        raise ValueError(f"{name}: wanted a list of one or more, got {values!r}")
    return [(f"{name}[{i}]", value) for i, value in enumerate(values)]


def _check_unique(items: Iterable, identity: Callable, prefix: str) -> None:
    known = set()
    for item in items:
        if identity(item) in known:
            name = item.label if isinstance(item, MethodSpec) else item
            raise ValueError(f"{prefix}{name} occurs twice")
        known.add(identity(item))


def _check_keys(mapping: Mapping, known: Sequence[str], prefix: str) -> None:
    for key in mapping:
        if key not in known:
            raise ValueError(f"{prefix}{key}: no such key; wanted {', '.join(known)}")


def _check_common(spacing, threads, seed) -> None:
    if spacing is not None and not (_is_real(spacing) and 0.1 <= spacing <= 50):
        raise ValueError(f"spacing: wanted mm between 0.1 and 50, or null, got {spacing!r}")
    if not _is_integer(threads) or threads < 1:
        raise ValueError(f"threads: wanted 1 or more, got {threads!r}")
    if not _is_integer(seed) or seed < 0:
        raise ValueError(f"seed: wanted a whole number, 0 or more, got {seed!r}")


def _as_list(value) -> list:
    return list(value) if isinstance(value, list | tuple) else [value]


def _is_integer(value) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_real(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
