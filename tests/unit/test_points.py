"""Points in every kind of file: which space they are in, what lies beside them, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nevf_lite.scans.points import PointFile, read_points, write_points

RAS = np.array([[1.0, 2.5, -3], [-40, 5, 0]])
LPS = RAS * [-1, -1, 1]
FCSV = """# Markups fiducial file version = 4.11
# CoordinateSystem = {}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
1,{},0,0,0,1,1,1,0,AC,front,
2,{},0,0,0,1,1,1,0,PC,back,
"""


def cells(points, separator=","):
    return [separator.join(f"{value:g}" for value in point) for point in points]


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".csv", "x,y,z\n1,2.5,-3\n-40,5,0\n"),
        (".csv", "x;y;z\n1;2.5;-3\n-40;5;0\n"),
        (".csv", "x;y;z\n1;2,5;-3\n-40;5;0\n"),  # decimal commas, as spreadsheets write them
        (".tsv", "x\ty\tz\n1\t2.5\t-3\n-40\t5\t0\n"),
        (".txt", "x y  z\n  1   2.5 -3\n-40 5 0\n"),
        (".txt", "x\ty\tz\n1\t2,5\t-3\n-40\t5\t0\n"),
    ],
)
def test_separators(tmp_path, suffix, text):
    """Comma, semicolon, tab and spaces are told from the first line, and come back in the copy."""
    source = tmp_path / f"p{suffix}"
    source.write_text(text)
    np.testing.assert_allclose(read_points(source), RAS)
    write_points(tmp_path / f"q{suffix}", RAS + 1, like=source)
    np.testing.assert_allclose(read_points(tmp_path / f"q{suffix}"), RAS + 1)
    kept = (tmp_path / f"q{suffix}").read_text().splitlines()
    assert len(kept) == 3 and (";" in kept[2]) == (";" in text)
    assert ("3,5" in kept[1]) == ("2,5" in text)


def test_the_header_of_ants_is_lps(tmp_path):
    """Fault 10: x,y,z,t,label,comment is LPS by convention, with a note; a word overrules it."""
    source = tmp_path / "ants.csv"
    rows = [f"{row},0,{i},no" for i, row in enumerate(cells(LPS))]
    source.write_text("\n".join(["x,y,z,t,label,comment", *rows]) + "\n")
    found = PointFile.read(source)
    np.testing.assert_allclose(found.points, RAS)
    assert "ANTs" in found.note and "--ras" in found.note
    assert PointFile.read(source, space="LPS").note is None
    np.testing.assert_allclose(read_points(source, space="RAS"), LPS)
    write_points(tmp_path / "back.csv", RAS, like=source)  # in the space that it came in
    assert (tmp_path / "back.csv").read_text().splitlines()[1] == (
        "-1.000000,-2.500000,-3.000000,0,0,no"
    )
    source.write_text("x,y,z,name\n1,2.5,-3,a\n-40,5,0,b\n")
    assert PointFile.read(source).note is None  # no false note
    np.testing.assert_allclose(read_points(source), RAS)


@pytest.mark.parametrize(("word", "points"), [("LPS", LPS), ("1", LPS), ("RAS", RAS), ("0", RAS)])
def test_fcsv(tmp_path, word, points):
    """Slicer's .fcsv says what it is in, in old files by a number; all else is kept."""
    source = tmp_path / "p.fcsv"
    source.write_text(FCSV.format(word, *cells(points)))
    np.testing.assert_allclose(read_points(source), RAS)
    write_points(tmp_path / "q.fcsv", RAS, like=source)
    lines = (tmp_path / "q.fcsv").read_text().splitlines()
    assert lines[:3] == source.read_text().splitlines()[:3]
    assert lines[3].split(",")[-3:] == ["AC", "front", ""]
    np.testing.assert_allclose(read_points(tmp_path / "q.fcsv"), RAS)


def test_markups(tmp_path):
    """A .mrk.json file: each list of points in its own space, undefined points left alone."""
    document = {
        "markups": [
            {
                "type": "Fiducial",
                "coordinateSystem": "RAS",
                "coordinateUnits": "mm",
                "controlPoints": [
                    {"label": "AC", "position": RAS[0].tolist(), "description": "kept"},
                    {"label": "none", "positionStatus": "undefined"},
                ],
            },
            {"type": "Line", "controlPoints": [{"label": "PC", "position": LPS[1].tolist()}]},
        ]
    }
    source, out = tmp_path / "p.mrk.json", tmp_path / "q.mrk.json"
    source.write_text(json.dumps(document))
    np.testing.assert_allclose(read_points(source), RAS)
    write_points(out, RAS + 1, like=source)
    written = json.loads(out.read_text())["markups"]
    assert written[0]["controlPoints"][0] == {
        "label": "AC",
        "position": [2.0, 3.5, -2.0],
        "description": "kept",
    }
    assert written[0]["controlPoints"][1] == {"label": "none", "positionStatus": "undefined"}
    assert written[1]["controlPoints"][0]["position"] == [39.0, -6.0, 1.0]


@pytest.mark.parametrize("first", [".csv", ".tsv", ".fcsv", ".mrk.json"])
@pytest.mark.parametrize("second", [".csv", ".txt", ".fcsv", ".mrk.json"])
def test_from_one_kind_to_the_other(tmp_path, first, second):
    """Points and their names survive every change of format; Slicer's are written in LPS."""
    table = tmp_path / "start.csv"
    table.write_text("x,y,z,label\n1,2.5,-3,AC\n-40,5,0,PC\n")
    write_points(tmp_path / f"a{first}", RAS, like=table)
    write_points(tmp_path / f"b{second}", RAS, like=tmp_path / f"a{first}")
    found = PointFile.read(tmp_path / f"b{second}")
    np.testing.assert_allclose(found.points, RAS)
    assert found.content.labels == ["AC", "PC"]
    if second in (".fcsv", ".mrk.json"):
        assert found.space == "LPS" and "LPS" in (tmp_path / f"b{second}").read_text()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.fcsv", FCSV.format("IJK", "1,2,3", "4,5,6"), "wanted RAS or LPS"),
        ("p.fcsv", FCSV.format("RAS", "1,2,three", "4,5,6"), "point 1"),
        ("p.fcsv", "# CoordinateSystem = LPS\n", "no points"),
        ("p.mrk.json", "{}", "not a markups file"),
        ("p.mrk.json", "[1, 2]", "not a markups file"),
        ("p.mrk.json", '{"markups": [{"coordinateSystem": "IJK"}]}', "wanted RAS or LPS"),
        ("p.mrk.json", '{"markups": [{"coordinateUnits": "um"}]}', "in mm"),
        ("p.mrk.json", '{"markups": [{"controlPoints": [{"position": [1, 2]}]}]}', "point 1"),
        ("p.mrk.json", '{"markups": []}', "no points"),
        ("p.json", "{}", "should end in"),
    ],
)
def test_refusals(tmp_path, name, text, words):
    """One line that says what was wanted."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=words):
        read_points(tmp_path / name)
