"""The keys of exams: pseudonymous, and the same in every run.

A key is a hash of the study's UID, or of the exam's place where there is none. Exams of one UID get longer keys. A key
that was given stays with its exam, whatever else is found later: only newcomers are named after what is there now.
"""

import hashlib
import itertools
import os
from collections.abc import Iterable

from cinesax.cohort.planning.plan import Plan, Row

SEPARATOR = "\x1f"
"""Between the parts of a draft: what a key is made from, what tells exams of one UID apart, the name in a list."""

_DIGITS = 10
_MORE_DIGITS = 6


def give_keys(plan: Plan) -> None:
    """Turn the drafts of all exams into keys; fingerprints must be there."""
    plan.define("short", lambda draft: _hash(draft.split(SEPARATOR)[0])[:_DIGITS])
    plan.define("whole", _hash)
    plan.define("place", _place)
    plan.change(
        "CREATE TEMP TABLE drafts AS SELECT id, short(id) AS base, whole(id) AS draft, fingerprint, NULL AS key, "
        "place(exams.root, scopes.root, name) AS place FROM exams JOIN scopes USING (scope) ORDER BY base, id"
    )
    plan.change("CREATE UNIQUE INDEX temp.of_draft ON drafts (id)")
    _give_single_keys(plan)
    query = "SELECT base, id, draft, place, fingerprint FROM temp.drafts WHERE key IS NULL ORDER BY base, id"
    for base, exams in itertools.groupby(plan.snapshot(query), key=lambda row: row[0]):
        given = plan.rows("SELECT id, draft, place, fingerprint FROM keys WHERE base = ? ORDER BY id", (base,))
        for draft, key in _keys(str(base), [row[1:] for row in exams], list(given)).items():
            plan.change("UPDATE temp.drafts SET key = ? WHERE id = ?", (key, draft))
    new = "(SELECT key FROM temp.drafts WHERE drafts.id = {})"
    plan.change(f"UPDATE files SET exam = {new.format('files.exam')} WHERE exam IS NOT NULL")
    plan.change(f"CREATE TEMP TABLE keyed AS SELECT {new.format('exams.id')} AS new, exams.* FROM exams")
    plan.change("DELETE FROM exams")
    columns = "scope, kind, root, patient, fingerprint, files, bytes, copies, absent"
    plan.change(f"INSERT INTO exams SELECT new, {columns} FROM temp.keyed")
    plan.change("INSERT OR REPLACE INTO keys SELECT key, base, draft, place, fingerprint FROM temp.drafts")


def _give_single_keys(plan: Plan) -> None:
    """Give all bases with one exam, and with one earlier key at most, their keys at once, as `_keys` would."""
    plan.change(
        "CREATE TEMP TABLE shared AS SELECT base FROM temp.drafts GROUP BY base HAVING COUNT(*) > 1 "
        "UNION SELECT base FROM keys GROUP BY base HAVING COUNT(*) > 1"
    )
    plan.change(
        "UPDATE temp.drafts SET key = COALESCE((SELECT id FROM keys WHERE keys.base = drafts.base), 'case-' || base) "
        "WHERE base NOT IN (SELECT base FROM temp.shared)"
    )


def _keys(base: str, exams: list[Row], given: list[Row]) -> dict[str, str]:
    """The key of each exam of one base.

    Args:
        base: the beginning of their keys.
        exams: (draft, its hash, place, fingerprint) of each.
        given: (key, hash of the draft, place, fingerprint) of those that were found in earlier runs.
    """
    free = {row[0]: row[1:] for row in given}
    keys: dict[str, str] = {}
    # The same files, else the same study and patient, else the same place.
    for what in (2, 0, 1):
        for draft, *facts in exams:
            same = [key for key, earlier in free.items() if facts[what] and earlier[what] == facts[what]]
            if draft not in keys and same:
                keys[draft] = same[0]
                del free[same[0]]
    left = [row[0] for row in exams if row[0] not in keys]
    if len(exams) == 1 and left and len(given) <= 1:
        return {left[0]: given[0][0] if given else f"case-{base}"}
    taken = {*(row[0] for row in given), *keys.values()}
    for draft in left:
        keys[draft] = _longer(base, draft, taken)
        taken.add(keys[draft])
    return keys


def _longer(base: str, draft: str, taken: Iterable[str]) -> str:
    keys = (f"case-{base}-{_hash(draft)[:digits]}" for digits in itertools.count(_MORE_DIGITS))
    return next(key for key in keys if key not in taken)


def _place(root: bytes, top: bytes, name: str) -> str:
    """Where an exam lies below its root, which may be mounted elsewhere tomorrow."""
    inside = root[len(top) :] if root == top or root.startswith(top + b"/") else root
    return _hash(f"{name}{SEPARATOR}{os.fsdecode(inside)}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
