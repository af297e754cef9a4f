"""From an owner's archive to load_pair, on small archives with the real ones' layout.

A server on this machine gives them out; the addresses of the real ones are never asked.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import sys
import tarfile
import types
import zipfile

import nibabel as nib
import numpy as np
import pytest
from local_server import running

from nevf_lite.data import fetch as fetching
from nevf_lite.data import load_pair
from nevf_lite.data.catalogue import DATASETS, find_weights
from nevf_lite.data.download import DownloadError
from nevf_lite.data.fetch import SOURCES, fetch, plan
from nevf_lite.data.prepare import prepare
from nevf_lite.data.simulate import MNI_BOX
from nevf_lite.scans.space import Grid

QUIET = {"progress": False, "pause": 0.0}
LIA = np.array([[-1, 0, 0, 8], [0, 0, 1, -9], [0, -1, 0, 7], [0, 0, 0, 1.0]])
#: FSL's MNI152 at 1 mm, the space of Mindboggle's *.MNI152.nii.gz, but only where our brains are.
LAS = np.array([[-1, 0, 0, 90], [0, 1, 0, -126], [0, 0, 1, -72], [0, 0, 0, 1.0]])


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server and a cache of its own; every real address is replaced by one of its."""
    monkeypatch.delenv("NEVF_DATA", raising=False)
    monkeypatch.setenv("NEVF_CACHE", str(tmp_path / "cache"))
    with running() as started:
        local = {
            name: tuple(
                dataclasses.replace(
                    s,
                    urls=tuple(started.url(f"/{i}/{s.file}") for i in range(len(s.urls))),
                    checksum="",
                )
                for s in sources
            )
            for name, sources in SOURCES.items()
        }
        monkeypatch.setattr(fetching, "SOURCES", local)
        yield started


def nifti(data: np.ndarray, affine: np.ndarray) -> bytes:
    return nib.Nifti1Image(data, affine).to_bytes()


def gz(content: bytes) -> bytes:
    return gzip.compress(content, 1)


def tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def brain(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """An image in [0, 1] with a brain of random grey, and four labels in it."""
    random = np.random.default_rng(seed)
    inside = tuple(slice(n // 4, -(n // 4)) for n in shape)
    image, labels = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    image[inside] = random.uniform(0.2, 1, image[inside].shape)
    labels[inside] = random.integers(1, 5, labels[inside].shape)
    return image, labels


def neurite(subjects=(1, 2, 4)) -> dict[str, bytes]:
    """The layout of neurite-oasis.v1.0.tar, with volumes that nobody wants between the others."""
    files = {"subjects.txt": b"...", "seg35_labels.txt": b"0 Unknown 0 0 0 0\n"}
    for s in subjects:
        folder = f"OASIS_OAS1_{s:04d}_MR1"
        image, labels = brain(s, (16, 14, 18))
        files |= {
            f"{folder}/orig.nii.gz": np.random.default_rng(s).bytes(150_000),
            f"{folder}/aligned_norm.nii.gz": gz(nifti(image, LIA)),
            f"{folder}/aligned_orig.nii.gz": np.random.default_rng(s).bytes(100_000),
            f"{folder}/aligned_seg35.nii.gz": gz(nifti(labels, LIA)),
            f"{folder}/aligned_seg4.nii.gz": gz(nifti(labels, LIA)),
        }
    return files


def test_nothing_is_fetched_without_consent(server):
    """The plan shows size, place, owner and terms first; a no means that nothing is asked for."""
    shown = []
    assert fetch("mindboggle", confirm=lambda text: shown.append(text) or False) == []
    assert server.requests == []
    for word in ("408 MB", "127.0.0.1", "mindboggle.info", "CC BY-NC-SA"):
        assert word in shown[0]
    assert DATASETS["mindboggle"].credit in shown[0]
    with pytest.raises(ValueError, match="name: wanted one of .*'oasis'.*Neuromorphometrics"):
        plan("oasis")


def test_the_sample_takes_two_subjects_out_of_the_large_archive(server):
    """Only their four files travel, and the pair can be loaded at once."""
    files = neurite((1, 2, 4, 5, 6))
    server.files["/0/sample"] = archive = tar(files)
    paths = fetch("sample", **QUIET)
    assert [p.name for p in paths] == ["OAS1_0001_t1.nii.gz", "OAS1_0002_t1.nii.gz"]
    spans = [asked.removeprefix("bytes=").split("-") for _, asked in server.requests]
    assert sum(int(b) - int(a) + 1 for a, b in spans) < len(archive) / 3
    pair = load_pair("sample")
    expected, labels = brain(1, (16, 14, 18))
    assert np.allclose(pair.fixed.get_fdata(), expected / expected.max(), atol=0.004)
    assert np.array_equal(pair.fixed_labels.get_fdata(), labels)
    assert np.array_equal(pair.fixed.affine, LIA)
    assert pair.label_names[35] == "Right-Choroid-Plexus"
    server.ranges = False
    with pytest.raises(DownloadError, match="does not give out parts"):
        fetch("sample", **QUIET)


def test_neurite_oasis_from_archive_to_pair(server):
    """All subjects; a second run does only what is missing."""
    server.files["/0/neurite-oasis.v1.0.tar"] = tar(neurite())
    with pytest.raises(FileNotFoundError, match="nevf data fetch neurite"):
        prepare("neurite", progress=False)
    fetch("neurite", **QUIET)
    paths = prepare("neurite", progress=False)
    assert [p.name[:9] for p in paths] == ["OAS1_0001", "OAS1_0002", "OAS1_0004"]
    assert load_pair("neurite", "OAS1_0004", "OAS1_0001").fixed.shape == (16, 14, 18)
    paths[0].unlink()
    before = paths[1].stat().st_mtime_ns
    assert prepare("neurite", progress=False) == paths
    assert paths[0].exists() and paths[1].stat().st_mtime_ns == before
    assert {p.name for p in paths[0].parent.parent.iterdir()} == {"neurite"}  # nothing left over


def test_the_slices_of_neurite_oasis(server):
    """2-D, with the 24 labels that the archive's own table names."""
    table = b"  0  Unknown 0 0 0 0\n  3  Left-Caudate  1 2 3 0\n 4 X 1 1 1 0\n"
    files = {"./seg24_labels.txt": table}
    for s in (1, 2):
        folder = f"./OASIS_OAS1_000{s}_MR1"
        for name, data in zip(("norm", "seg24"), brain(s, (16, 20)), strict=True):
            files[f"{folder}/slice_{name}.nii.gz"] = gz(nifti(data[..., None], np.eye(4)))
    server.files["/0/neurite-oasis.2d.v1.0.tar"] = tar(files)
    fetch("neurite2d", **QUIET)
    prepare("neurite2d", progress=False)
    pair = load_pair("neurite2d")
    assert pair.fixed.shape == (16, 20) and pair.label_names == {3: "Left-Caudate", 4: "X"}


def mindboggle(space: str, affine: np.ndarray, shape=(100, 120, 90)) -> dict[str, bytes]:
    """OASIS-TRT-20_volumes.tar.gz: FreeSurfer's numbers as floats, among files nobody wants."""
    files = {}
    for s in (2, 11):
        folder = f"OASIS-TRT-20_volumes/OASIS-TRT-20-{s}"
        labels = np.zeros(shape, np.float32)
        labels[80:90, 100:110, 70:80] = 1002 + s % 2  # 1 or 2 of ours
        labels[60:70, 100:110, 70:80] = 2035  # 62
        labels[60:70, 110:112, 70:80] = 251  # not one of ours
        image = np.where(labels > 0, 700, 0).astype(np.int16)
        image[80:90, 100:110, 70:75] = 1000
        files |= {
            f"{folder}/t1weighted{space}.nii.gz": b"whole head",
            f"{folder}/t1weighted_brain{space}.nii.gz": gz(nifti(image, affine)),
            f"{folder}/labels.DKT31.manual{space}.nii.gz": gz(nifti(labels, affine)),
            f"{folder}/labels.DKT31.manual+aseg{space}.nii.gz": b"automatic",
        }
    return files


def test_mindboggle_out_of_the_release_on_zenodo(server, tmp_path):
    """One member of the .zip by ranges; cropped to the paper's box; DKT numbers to 1-62."""
    inner = tar(mindboggle(".MNI152", LAS), "w:gz")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as release:
        release.writestr("r3/Mindboggle101_volumes/OASIS-TRT-20_volumes.tar.gz", inner)
        release.writestr("r3/Mindboggle101_volumes/MMRR-21_volumes.tar.gz", bytes(1000))
    server.files["/0/OASIS-TRT-20_volumes.tar.gz"] = out.getvalue()
    (archive,) = fetch("mindboggle", **QUIET)
    assert archive.read_bytes() == inner
    paths = prepare("mindboggle", progress=False)
    assert [p.name for p in paths] == ["trt02_t1.nii.gz", "trt11_t1.nii.gz"]
    pair = load_pair("mindboggle", "trt02", "trt11")
    assert Grid.of(pair.fixed) == MNI_BOX == Grid.of(pair.fixed_labels)
    labels = pair.fixed_labels.get_fdata()
    assert set(np.unique(labels)) == {0, 1, 62} and (labels == 62).sum() == 1000
    assert set(np.unique(pair.moving_labels.get_fdata())) == {0, 2, 62}
    # the corner of label 1 is at voxel (80, 100, 70) there, x = 90 - 80 mm, and nowhere else here
    at = np.rint(MNI_BOX.to_voxels(LAS[:3] @ [80, 100, 70, 1])).astype(int)
    assert labels[tuple(at)] == 1 and labels[tuple(at + [1, 0, 0])] == 0
    assert pair.fixed.get_fdata()[tuple(at)] == 1

    (tmp_path / "release.zip").write_bytes(out.getvalue())  # as a browser brings it
    for path in paths:
        path.unlink()
    assert prepare("mindboggle", archive=tmp_path / "release.zip", progress=False) == paths


def test_mindboggle_in_native_space_is_aligned_here(server, tmp_path, monkeypatch):
    """Without the owners' MNI152 files our own affine is used, from template to scan."""
    native = np.diag([1.0, 1.0, 1.0, 1.0])
    native[:3, 3] = -85, -120, -75
    shift = np.eye(4)
    shift[:3, 3] = 3, -4, 5  # template point x lies at x + shift in the scan
    fake = types.SimpleNamespace(affine_register=lambda fixed, moving: shift)
    monkeypatch.setitem(sys.modules, "nevf_lite.transforms.affine", fake)
    (tmp_path / "brains.tar.gz").write_bytes(tar(mindboggle("", native), "w:gz"))
    prepare("mindboggle", archive=tmp_path / "brains.tar.gz", own_affine=True, progress=False)
    labels = load_pair("mindboggle", "trt02", "trt11").fixed_labels.get_fdata()
    corner = MNI_BOX.to_voxels(native[:3] @ [80, 100, 70, 1] - shift[:3, 3])
    where = np.argwhere(labels == 1)
    assert np.array_equal(where.min(axis=0), np.rint(corner)) and len(where) == 1000


def test_a_damaged_archive_leaves_nothing_half_done(server, tmp_path):
    """Cut short, or another archive altogether: one line, no brain in the cache."""
    whole = tar(neurite())
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged or cut short"):
        prepare("neurite", archive=tmp_path / "cut.tar", progress=False)
    (tmp_path / "other.tar").write_bytes(tar({"holiday.jpg": b"x"}))
    with pytest.raises(ValueError, match="none of the files wanted"):
        prepare("neurite", archive=tmp_path / "other.tar", progress=False)
    assert not list((tmp_path / "cache" / "data").rglob("*.nii.gz"))
    with pytest.raises(ValueError, match="name: wanted one of mindboggle"):
        prepare("slices2d")


def test_weights_from_the_second_address(server):
    """VoxelMorph's file has two addresses; the second serves when the first does not."""
    server.files["/0/symnet_neurite_oasis_smo30.pth"] = b"net"
    server.files["/1/voxelmorph_cvpr2018_vm2_cc.h5"] = b"other net"
    paths = fetch("weights", **QUIET)
    assert [p.read_bytes() for p in paths] == [b"net", b"other net"]
    assert find_weights("voxelmorph_cvpr2018_vm2_cc.h5") == paths[1]
    with pytest.raises(ValueError, match="url: weights is 2 files"):
        fetch("weights", url=server.url("/x"))


def test_published_checksums_of_the_real_sources():
    """Weights are pinned to exact bytes, archives to the checksums that are known of them."""
    for source in SOURCES["weights"]:
        assert len(source.checksum.removeprefix("sha256:")) == 64
    assert SOURCES["neurite"][0].checksum.startswith("md5:")
    for sources in SOURCES.values():
        for source in sources:
            assert all(url.startswith("https://") for url in source.urls)
            assert source.licence and source.credit and source.size


@pytest.mark.parametrize("number", [0, 1])
def test_pinned_weights_are_the_ones_we_know(nevf_data, number):
    """The pinned checksum belongs to the file that the network tests use."""
    from nevf_lite.data.download import file_digests

    source = SOURCES["weights"][number]
    path = nevf_data.parent / "weights" / source.file
    if not path.exists():
        pytest.skip("published weights are not here")
    assert "sha256:" + file_digests(path, {"sha256"})["sha256"] == source.checksum
    assert path.stat().st_size == source.size
