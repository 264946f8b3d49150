"""Damaged exams by the thousand: what is whole (samples), what is done to it (damage_*), and what comes of it (trial).

    python -m fuzz --inputs 10000        from the folder tests/, or `make fuzz`
    python -m fuzz --seed 4711           one input again, with what it is and what came of it

An input is a number: the same number is the same exam with the same damage. Each is read in the way of a user, with a
stub in the place of the network, and must end in one of two ways: an error of one line, or a result that rests on
pixels that were there. Anything else is a violation: a traceback, a warning of a library, more than 2 GB, more than
60 s, a frame that is not what the file holds, frames that are gone without a word, files left behind after an error.

Beside damage there are forms: `shapes` gives whole exams in the forms in which people have them, and knows the number
that must come out.
"""
