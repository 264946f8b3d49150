"""A person corrects and signs on the page, in a real Chromium against the real server."""

import math
from typing import Any

import pytest

from reader.browsing import Exam, picture, ready, until, window


def test_nudge_and_the_numbers_follow(exam: Exam) -> None:
    page = exam.page
    exam.keys("n")
    before, ef, shown = exam.area(), exam.number("ef_percent"), exam.ef()
    left, right, top, bottom = exam.box()
    middle = ((left + right) / 2, (top + bottom) / 2)
    page.mouse.move(*exam.on_screen(*middle))
    radius = page.evaluate("cinesaxExam.tools.nudge.radius")
    page.mouse.wheel(0, -100)
    until(lambda: page.evaluate("cinesaxExam.tools.nudge.radius") > radius, what="a larger circle")
    page.mouse.wheel(0, 100)
    exam.drag(middle, (right - 2, middle[1]), release=False)
    # Before the hand lets go: the line has moved, and EF with it, and nothing is stored.
    until(lambda: exam.ef() != shown, what="a new EF during the movement")
    assert exam.area() > before + 5 and exam.number("ef_percent") == ef
    assert page.inner_text('[data-value="EF"] ~ td.first') == shown
    picture(page, "reader-nudge", hand=True)
    page.mouse.up()
    exam.settle()
    after = exam.area()
    assert exam.number("ef_percent") != ef and "edited" in page.inner_text("#place")
    exam.keys("Control+z")
    assert exam.area() == pytest.approx(before, abs=0.1) and exam.number("ef_percent") == ef and exam.ef() == shown
    exam.keys("Control+Shift+z")
    assert exam.area() == pytest.approx(after, abs=0.1)
    # From outside, the circle pushes the line in.
    exam.drag((right + 14, middle[1]), (right + 2, middle[1]))
    assert exam.area() < after


def test_reload_in_the_middle(exam: Exam) -> None:
    page = exam.page
    exam.keys("n", "]", ".", ".")
    area, version, phase, place = exam.area(), exam.state("version"), exam.state("phase"), exam.state("slice")
    page.reload()
    exam = ready(page)
    exam.go(phase, place)
    assert exam.state("version") == version and exam.area() == pytest.approx(area, abs=0.1)
    exam.keys("Control+z", "Control+z")
    assert exam.state("history.undo") is None
    exam.keys("Control+y")
    assert exam.state("history.redo") is not None


def test_points_of_a_spline(exam: Exam) -> None:
    page = exam.page
    exam.keys("p")
    before = exam.area()
    points = page.evaluate("cinesaxExam.tools.points.points")
    left, right, top, bottom = exam.box()
    middle = ((left + right) / 2, (top + bottom) / 2)
    first = points[0]
    outward = [first[axis] + (first[axis] - middle[axis]) * 0.3 for axis in (0, 1)]
    exam.drag((first[0], first[1]), (outward[0], outward[1]))
    assert exam.area() > before + 3
    assert page.evaluate("cinesaxExam.tools.points.points")[0] == pytest.approx(outward, abs=0.6)
    between = page.evaluate("cinesaxExam.state.polygons('cavity')[0][18]")
    exam.drag((between[0], between[1]), (between[0] + 0.5, between[1]))
    assert page.evaluate("cinesaxExam.tools.points.points.length") == len(points) + 1
    exam.keys("Delete")
    assert page.evaluate("cinesaxExam.tools.points.points.length") == len(points)
    assert "no contour" not in page.inner_text("#place")


def test_draw_delete_copy_and_interpolate(exam: Exam) -> None:
    page = exam.page
    place, ed = exam.state("slice"), exam.state("phase")
    left, right, top, bottom = exam.box()
    x, y, radius = (left + right) / 2, (top + bottom) / 2, (right - left) / 3
    exam.keys("d")
    exam.drag(*((x + radius * math.cos(a * math.pi / 12), y + radius * math.sin(a * math.pi / 12)) for a in range(25)))
    drawn = exam.area()
    assert drawn == pytest.approx(math.pi * radius**2, rel=0.1)
    exam.keys("Delete")
    assert exam.area() == 0 and "no contour, by a person" in page.inner_text("#place")
    exam.keys("Control+z")
    assert exam.area() == pytest.approx(drawn, abs=0.1)
    exam.keys("c")
    assert exam.state("phase") == ed + 1 and exam.area() == pytest.approx(drawn, abs=0.1)
    # A second edited phase, larger; between them the contour grows from one to the other.
    exam.go(ed + 5, place)
    exam.keys(".", "i")
    far = exam.area()
    exam.go(ed + 3, place)
    assert "interpolated" in page.inner_text("#place")
    assert min(drawn, far) - 1 < exam.area() < max(drawn, far) + 1
    exam.press("#delete-slice")
    assert all(not exam.state(f"polygons('cavity', {phase}, {place}).length") for phase in range(12))
    exam.keys("Control+z")
    exam.go(ed, place)
    exam.keys("Shift+i")
    assert "Edit the contour in two slices" in page.inner_text("#messages")
    two = exam.state("order.indexOf(cinesaxExam.state.slice)") + 2
    exam.page.evaluate(f"cinesaxExam.state.go({{slice: cinesaxExam.state.order[{two}]}})")
    exam.keys(",", "ArrowUp", "Shift+i")
    assert "interpolated" in page.inner_text("#place")


def test_deleting_the_endocardium_alone_says_what_becomes_of_the_mass(exam: Exam) -> None:
    page = exam.page
    ed, es = exam.state("numbers.ed_phase"), exam.state("numbers.es_phase")
    page.evaluate(f"cinesaxExam.edits.edit({{op: 'phases', ed_phase: {ed}, es_phase: {es}}})")
    exam.settle()
    mass, cavity, wall = exam.number("lv_mass_g"), exam.area(), exam.area("myocardium")
    exam.keys("Alt+Delete")
    assert exam.area() == 0 and exam.area("myocardium") == wall
    said = until(lambda: page.inner_text("#messages"), what="the message")
    assert "all that it encloses counts as muscle now" in said
    assert f"{mass:.0f} g before, now {exam.number('lv_mass_g'):.0f} g" in said
    assert "all that it encloses counts as muscle" in page.inner_text("ul.findings >> nth=0")
    picture(page, "reader-deleted")
    # One undo gives the contour back; Delete takes both away, as the message says.
    exam.keys("Control+z")
    assert exam.area() == cavity and exam.number("lv_mass_g") == mass
    page.evaluate("document.getElementById('messages').replaceChildren()")
    exam.keys("Delete")
    assert exam.area() == 0 and exam.area("myocardium") == 0
    exam.keys("Control+z")
    page.evaluate("cinesaxExam.actions.chooseStructure('myocardium')")
    exam.keys("Alt+Delete")
    assert exam.area("myocardium") == 0 and exam.area() == cavity
    assert "muscle" not in page.inner_text("#messages")


def test_base_ends_here_and_es(exam: Exam) -> None:
    page = exam.page
    edv, ed, es = exam.number("edv_ml"), exam.state("numbers.ed_phase"), exam.state("numbers.es_phase")
    basal = exam.state(f"basalSlice({ed})")
    row = exam.state(f"order.indexOf({basal})")
    below = exam.state(f"order[{row + 1}]")
    exam.go(ed, below)
    exam.press("#base-ed")
    assert exam.state(f"basalSlice({ed})") == below and exam.number("edv_ml") < edv
    exam.keys("Control+z")
    assert exam.number("edv_ml") == pytest.approx(edv)
    # ES by the keys on its mark, and by dragging it.
    mark = page.locator('[data-mark="es"]')
    mark.focus()
    exam.keys("ArrowRight")
    until(lambda: exam.state("numbers.es_phase") == es + 1, what="ES at the next phase")
    until(lambda: mark.get_attribute("aria-valuenow") == str(es + 1), what="the moved mark")
    box = mark.bounding_box()
    step = page.evaluate("cinesaxExam.curve.plot.valToPos(1, 'x') - cinesaxExam.curve.plot.valToPos(0, 'x')")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + step, box["y"] + 60, steps=3)
    page.mouse.up()
    exam.settle()
    assert exam.state("numbers.es_phase") == es + 2
    exam.press("#phases-curve")
    assert exam.state("numbers.es_phase") == es


def test_first_against_present_and_steps_with_a_comma(exam: Exam) -> None:
    page = exam.page
    before = exam.area()
    page.fill(".corrections .step", "2,5")
    page.keyboard.press("Tab")
    assert page.input_value(".corrections .step") == "2.5"
    exam.press("#grow")
    after = exam.area()
    radius = math.sqrt(before / math.pi)
    spacing = exam.state("exam.spacing_mm[0]")
    assert after == pytest.approx(math.pi * (radius + 2.5 / spacing) ** 2, rel=0.05)
    exam.keys("f")
    until(lambda: exam.state("showing") == "first", what="the first contours")
    assert page.is_visible(".first-label")
    exam.keys("f")
    assert exam.area() == pytest.approx(after)
    exam.press("details[data-details=history] summary")
    assert until(lambda: page.locator("ol.history li").count()) == 1
    exam.press("details[data-details=compare] summary")
    assert until(lambda: page.locator("table.compare tbody tr").count()) == exam.state("exam.slices")


def test_two_windows(exam: Exam) -> None:
    first = exam.page
    second = window(first.context, [])
    second.goto(first.url)
    other = ready(second)
    assert "open in another window" in until(lambda: second.inner_text("#notices"), what="the notice")
    other.keys(".")
    # The first window does not know yet: its edit is refused, what is there is shown, and nothing is lost.
    exam.keys(".")
    assert "changed in another window" in first.inner_text("#messages")
    assert exam.area() == pytest.approx(other.area(), abs=0.1) and exam.state("history.edits") == 1
    exam.keys(".")
    assert exam.area() > other.area()
    second.close()


def test_the_server_stops_and_comes_back(exam: Exam, one_window: tuple[Any, list[str]]) -> None:
    """An edit that cannot be sent waits and says so; it is sent when the server answers again."""
    page = exam.page
    page.route("**/api/exams/*/edits", lambda route: route.abort())
    before = exam.state("version")
    page.keyboard.press(".")
    until(lambda: "One edit waits" in page.inner_text("#state"), what="the line about the waiting edit")
    page.unroute("**/api/exams/*/edits")
    exam.settle()
    assert exam.state("version") == before + 1
    one_window[1].clear()  # the browser logs the broken request


def test_approve_and_the_report(exam: Exam) -> None:
    page = exam.page
    complaints_free = page.inner_text(".sign")
    assert "Approved" not in complaints_free
    exam.keys(".")
    page.click("#approve")
    assert "Type your name" in page.inner_text("#messages")
    page.fill("#sign-name", "Dr. Example")
    page.fill("#sign-comment", "Larger at ED")
    page.click("#approve")
    until(lambda: "Approved by Dr. Example as version 1" in page.inner_text(".sign"), seconds=60, what="approval")
    assert "approved" in page.inner_text("#place")
    report = page.get_attribute("#report", "href")
    assert report.endswith("/report?number=1")
    text = page.evaluate("async (path) => (await fetch(path)).text()", report)
    assert "Dr. Example" in text
    page.click("a.brand")
    page.wait_for_selector(".chip-state.approved")
    # Who edits afterwards makes a version of their own: the approved one stays.
    page.click("table.worklist td.name a")
    again = ready(page)
    again.keys(".")
    assert "edited since" in page.inner_text(".sign")
