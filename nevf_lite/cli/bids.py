"""`nevf register --bids`: the files of a result under the names of BIDS derivatives.

As fMRIPrep lays them out: DIR/sub-01/ses-1/anat/, `space-` and `desc-` in the images' names,
`from-..._to-..._mode-image_xfm` in those of transforms, and a JSON sidecar beside each.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nevf_lite import __version__
from nevf_lite.cli.inputs import stem
from nevf_lite.scans.files import atomic

#: Folders by the suffix of the moving image; all others are anatomical.
FOLDERS = {"bold": "func", "boldref": "func", "sbref": "func", "dwi": "dwi", "pet": "pet"}
#: Entities that say where an image lies or what was done with it: the output has its own.
REPLACED = ("space", "res", "den", "desc", "label")
GENERATED_BY = [{"Name": "nevf-lite", "Version": __version__}]


@dataclass(frozen=True)
class BidsNames:
    """The names of one result. folder: below the derivatives' root, "sub-01/anat".

    entities: "sub-01_run-1", of the moving image. suffix: its suffix, "T1w". space: the label of
    the fixed image's space. sources: of the images, as they were given.
    """

    folder: Path
    entities: str
    suffix: str
    space: str
    sources: tuple[str, str]

    @classmethod
    def of(cls, fixed: Path, moving: Path, space: str | None) -> BidsNames:
        """The names for a pair of files. space: of --space, by default from the fixed file's name.

        Raises ValueError for a moving image without `sub-`, or a space with other characters than
        letters and digits.
        """
        *parts, suffix = stem(moving).split("_")
        entities = dict(part.partition("-")[::2] for part in parts if "-" in part)
        if not re.fullmatch("[0-9A-Za-z]+", entities.get("sub", "")) or "-" in suffix:
            raise ValueError(
                f"--bids: {moving.name} is not named as in BIDS, such as sub-01_T1w.nii.gz; rename "
                "it or leave --bids out"
            )
        space = _space_of(fixed) if space is None else space
        if not re.fullmatch("[0-9A-Za-z]+", space):
            raise ValueError(f"--space: wanted letters and digits alone, got {space!r}")
        folder = Path(f"sub-{entities['sub']}")
        if "ses" in entities:
            folder /= f"ses-{entities['ses']}"
        kept = "_".join(f"{k}-{v}" for k, v in entities.items() if k not in REPLACED)
        folder /= FOLDERS.get(suffix, "anat")
        return cls(folder, kept, suffix, space, (str(fixed), str(moving)))

    @property
    def names(self) -> dict[str, Path]:
        """Where each file of a result folder goes, below the root."""
        image = f"{self.entities}_space-{self.space}_desc-"
        there = f"{self.entities}_from-{self.suffix}_to-{self.space}_mode-image_xfm"
        back = f"{self.entities}_from-{self.space}_to-{self.suffix}_mode-image_xfm"
        names = {
            "warped.nii.gz": f"{image}nevf_{self.suffix}.nii.gz",
            "warped_labels.nii.gz": f"{image}nevf_dseg.nii.gz",
            "jacobian.nii.gz": f"{image}jacobian_{self.suffix}.nii.gz",
            "report.html": f"{image}nevf_{self.suffix}.html",
            "warp.nii.gz": f"{there}.nii.gz",
            "inverse_warp.nii.gz": f"{back}.nii.gz",
            "velocity.safetensors": f"{there}.safetensors",
        }
        return {name: self.folder / path for name, path in names.items()}

    def place(self, result: Path, root: Path) -> None:
        """Move the files of a result folder below the root, and write what describes them."""
        (root / self.folder).mkdir(parents=True, exist_ok=True)
        document = json.loads((result / "result.json").read_text(encoding="utf-8"))
        for name, path in self.names.items():
            target = root / path
            sidecar = target.with_name(target.name.removesuffix(".nii.gz") + ".json")
            if not (result / name).exists():  # of an earlier result, and no longer true
                target.unlink(missing_ok=True)
                sidecar.unlink(missing_ok=True)
                continue
            os.replace(result / name, target)
            if name.endswith(".nii.gz"):
                _write(sidecar, self._description(name, document))
        about = root / "dataset_description.json"
        if not about.exists():
            dataset = {"Name": "Registrations", "BIDSVersion": "1.9.0"}
            _write(about, {**dataset, "DatasetType": "derivative", "GeneratedBy": GENERATED_BY})

    def _description(self, name: str, document: Mapping) -> dict:
        """The sidecar of a file; document: result.json, which the sidecar of the field holds."""
        fixed, moving = self.sources
        described = {"Sources": [moving, fixed], "GeneratedBy": GENERATED_BY}
        if name in ("warp.nii.gz", "inverse_warp.nii.gz"):
            ends = (self.suffix, self.space) if name == "warp.nii.gz" else (self.space, self.suffix)
            described |= {"From": ends[0], "To": ends[1], "Units": "mm"}
            described["Description"] = "ITK displacement field, LPS, for antsApplyTransforms"
            return described | (dict(document) if name == "warp.nii.gz" else {})
        described["SpatialReference"] = fixed
        if name == "jacobian.nii.gz":
            described["Description"] = (
                "Jacobian determinant of the map from fixed to moving: above 1, what is at the "
                "voxel is larger in the moving image; 0 or below, folded"
            )
        return described


def _space_of(fixed: Path) -> str:
    """The label of a space: of a template (tpl-X), of `space-X`, or made of the file's name."""
    name = stem(fixed)
    for pattern in ("tpl-([0-9A-Za-z]+)", "space-([0-9A-Za-z]+)"):
        if found := re.search(rf"(?:^|_){pattern}(?:_|$)", name):
            return found[1]
    return re.sub("[^0-9A-Za-z]", "", name)


def _write(path: Path, document: Mapping) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
