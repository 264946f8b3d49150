"""The table of structures: what a pixel of a segmentation can be, and what each output calls it.

A new structure needs only an entry in `Structure`. Label arrays and files, contours, bundles, training sets,
measurements, DICOM objects, the report and `evaluate` use this table and keep no list of their own. A structure that is
the blood of a chamber (`Part.BLOOD`) is measured: it gets volumes and an ejection fraction.

Labels, letters and names are stored in files: entries may be added, but not changed.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Self

Rgb = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Concept:
    """A coded concept of DICOM: code value, coding scheme designator ("SCT", "LN") and meaning."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chamber:
    """A chamber of the heart whose volume is measured.

    Attributes:
        key: its name in files: a key of analysis.json and the beginning of columns of measurements.csv.
        short: abbreviation, used before names and values.
        name: its name in sentences.
        site: the code of the anatomy.
        edv: EDV. This and the next are concepts of a structured report (DICOM SR); a value without one is not written
            there.
        esv: volume at ES.
        stroke_volume: EDV - ESV.
        ejection_fraction: by MR.
        cardiac_output: stroke volume * heart rate.
    """

    key: str
    short: str
    name: str
    site: Concept
    edv: Concept | None = None
    esv: Concept | None = None
    stroke_volume: Concept | None = None
    ejection_fraction: Concept | None = None
    cardiac_output: Concept | None = None


class Part(StrEnum):
    """Which part of its chamber a structure is."""

    BLOOD = "blood"
    """Its volume is the chamber's."""
    WALL = "wall"
    """Its mass is the chamber's."""
    MUSCLE = "muscle"
    """It lies in the blood and counts as blood, or not, by convention (`Segmentation.papillary_muscles_included`)."""


# Codes: PS3.16, the context groups 3821, 3833, 3835 (cardiac MR and CT), 12204 (right ventricle) and 4 (anatomy).
LV = Chamber(
    key="lv",
    short="LV",
    name="left ventricle",
    site=Concept("87878005", "SCT", "Left ventricle"),
    edv=Concept("8821-1", "LN", "Left Ventricular ED Volume"),
    esv=Concept("8823-7", "LN", "Left Ventricular ES Volume"),
    stroke_volume=Concept("90096001", "SCT", "Stroke Volume"),
    ejection_fraction=Concept("8811-2", "LN", "Left ventricular ejection fraction by MR"),
    cardiac_output=Concept("82799009", "SCT", "Cardiac Output"),
)
RV = Chamber(
    key="rv",
    short="RV",
    name="right ventricle",
    site=Concept("53085002", "SCT", "Right ventricle"),
    edv=Concept("8822-9", "LN", "Right Ventricular ED Volume"),
    esv=Concept("8824-5", "LN", "Right Ventricular ES Volume"),
    stroke_volume=Concept("429483009", "SCT", "RV Stroke Volume"),
    ejection_fraction=Concept("8818-7", "LN", "Right ventricular ejection fraction by MR"),
    cardiac_output=Concept("428628004", "SCT", "RV Cardiac Output"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the table says about a structure.

    Attributes:
        words: its name in text and in DICOM objects.
        chamber: the chamber that it belongs to.
        part: which part of the chamber it is.
        inside_of: label of the structure that encloses it, whose outline then goes around this one too.
        letter: its letter in names of contour files, before "contour".
        border: name of its outline, after the chamber.
        roi: name of its outline in a planning system, if that differs from the structure itself.
        code: its code as a segment of a DICOM segmentation.
        older_codes: code values that other programs and earlier editions of SNOMED use for it.
        rgb: colour of its area, in DICOM objects.
        line_rgb: colour of its outline on grey images; colour-blind readers can distinguish the four.
        class_name: its name in training sets and on the command line.
        bundle_name: its name in bundle.json.
        one_region: whether it is one region in each slice, so that cleaning keeps the largest. The RV is not: inflow
            and outflow tract are separate near the base.
    """

    words: str
    chamber: Chamber
    part: Part
    letter: str
    border: str
    code: Concept
    rgb: Rgb
    line_rgb: Rgb
    class_name: str
    bundle_name: str
    older_codes: tuple[str, ...] = ()
    roi: str | None = None
    inside_of: int | None = None
    one_region: bool = True


class Structure(IntEnum):
    """What a pixel can be; the value is the label in arrays and files. 0 is background."""

    facts: Facts

    def __new__(cls, label: int, facts: Facts | None = None) -> Self:
        """One entry: its label and its facts.

        Raises:
            TypeError: an entry has no facts. (Structure(1) looks an entry up and does not get here; the default is for
                type checkers.)
        """
        if facts is None:
            raise TypeError(f"the entry of label {label} has no facts")
        structure = int.__new__(cls, label)
        structure._value_ = label
        structure.facts = facts
        return structure

    CAVITY = (
        1,
        Facts(
            words="LV cavity",
            chamber=LV,
            part=Part.BLOOD,
            inside_of=2,
            letter="i",
            border="endocardium",
            code=LV.site,
            older_codes=("T-32600",),
            rgb=(220, 40, 50),
            line_rgb=(255, 181, 46),
            class_name="lv_cavity",
            bundle_name="CAVITY",
        ),
    )
    MYOCARDIUM = (
        2,
        Facts(
            words="LV myocardium",
            chamber=LV,
            part=Part.WALL,
            letter="o",
            border="epicardium",
            roi="LV epicardium",
            code=Concept("49848007", "SCT", "Left Ventricle Myocardium"),
            older_codes=("74281007", "T-32020"),
            rgb=(60, 170, 90),
            line_rgb=(71, 200, 255),
            class_name="myocardium",
            bundle_name="MYOCARDIUM",
        ),
    )
    RV_CAVITY = (
        3,
        Facts(
            words="RV cavity",
            chamber=RV,
            part=Part.BLOOD,
            letter="r",
            border="RV endocardium",
            code=RV.site,
            older_codes=("T-32500",),
            rgb=(60, 100, 220),
            line_rgb=(220, 240, 120),
            class_name="rv",
            bundle_name="RV",
            one_region=False,
        ),
    )
    PAPILLARY_MUSCLES = (
        4,
        Facts(
            words="LV papillary muscles",
            chamber=LV,
            part=Part.MUSCLE,
            inside_of=1,
            letter="p",
            border="papillary muscles",
            code=Concept("9352", "FMA", "Papillary muscle of left ventricle"),
            rgb=(230, 190, 60),
            line_rgb=(255, 130, 170),
            class_name="papillary_muscles",
            bundle_name="PAPILLARY_MUSCLES",
            one_region=False,
        ),
    )

    # Earlier names, from before there was one table: for contours, training classes and bundles.
    ENDOCARDIUM = CAVITY
    EPICARDIUM = MYOCARDIUM
    LV_CAVITY = CAVITY
    RV = RV_CAVITY

    @classmethod
    def _missing_(cls, value: object) -> "Structure | None":
        """Look up by the letter of contour files too: `Structure("i")`."""
        return next((entry for entry in cls if entry.facts.letter == value), None)

    @classmethod
    def of_letter(cls, letter: str) -> "Structure":
        """The structure that contour files with this letter hold.

        Raises:
            LookupError: no such letter.
        """
        return _by({entry.facts.letter: entry for entry in cls}, letter)

    @property
    def key(self) -> str:
        """Its name in analysis.json: "cavity"."""
        return self.name.lower()

    @property
    def enclosing(self) -> "Structure | None":
        """The structure that directly encloses this one."""
        return None if self.facts.inside_of is None else Structure(self.facts.inside_of)

    @property
    def region(self) -> tuple["Structure", ...]:
        """The structures inside its outline: itself and all that it encloses."""
        return (self, *(inner for entry in Structure if entry.enclosing is self for inner in entry.region))

    @property
    def depth(self) -> int:
        """How many structures enclose it."""
        return 0 if self.enclosing is None else 1 + self.enclosing.depth


def painting_order(structures: Iterable[Structure]) -> tuple[Structure, ...]:
    """The order in which to fill outlines: an enclosing structure before the structures inside it.

    Among structures that do not enclose each other, the first in the table comes last: if the outlines of LV and RV
    overlap at the septum, the LV gets the pixel.
    """
    return tuple(sorted(structures, key=lambda entry: (entry.depth, -entry)))


def blood_of(chamber: Chamber) -> Structure:
    """The structure whose volume is that of a chamber."""
    return next(entry for entry in Structure if entry.facts.chamber == chamber and entry.facts.part is Part.BLOOD)


def wall_of(chamber: Chamber) -> Structure | None:
    """The structure whose mass is that of a chamber; None if the table has none."""
    walls = (entry for entry in Structure if entry.facts.chamber == chamber and entry.facts.part is Part.WALL)
    return next(walls, None)


def chambers(structures: Collection[Structure] = tuple(Structure)) -> tuple[Chamber, ...]:
    """The chambers whose blood is among structures, in the order of the table: the LV first."""
    return tuple(entry.facts.chamber for entry in Structure if entry in structures and entry.facts.part is Part.BLOOD)


def of_bundle_name(name: str) -> Structure:
    """The structure that a bundle.json names.

    Raises:
        LookupError: no such name.
    """
    return _by({entry.facts.bundle_name: entry for entry in Structure}, name)


def of_class_name(name: str) -> Structure:
    """The structure that a training set names.

    Raises:
        LookupError: no such name.
    """
    return _by({entry.facts.class_name: entry for entry in Structure}, name)


def _by(names: dict[str, Structure], name: str) -> Structure:
    if name not in names:
        raise LookupError(f"no structure is called {name!r}: expected one of {', '.join(names)}")
    return names[name]
