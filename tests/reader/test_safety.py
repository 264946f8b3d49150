"""Who may ask the server, what it refuses, and that damaged requests never hurt it."""

import random
import socket
import time
from pathlib import Path

import httpx
import pytest

from reader.served import Made, Server, circle, flat, serving

BODIES = 500


def test_nobody_gets_in_without_the_token(server: Server) -> None:
    base = str(server.client.base_url)
    with httpx.Client(base_url=base) as stranger:
        for path in ("/", "/api/worklist", "/static/main.js", "/api/exams/x", "/login"):
            assert stranger.get(path).status_code == 401, path
        assert stranger.get("/?token=wrong").status_code == 403
        assert stranger.get("/api/worklist", headers={"Authorization": "Bearer wrong"}).status_code == 401
        answer = stranger.get(f"/?token={server.token}")
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
        assert stranger.get("/api/worklist").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1:1"},
        {"Host": "127.0.0.1.evil.example:80"},
    ],
)
def test_a_foreign_name_for_this_machine_is_refused(server: Server, headers: dict[str, str]) -> None:
    # DNS rebinding: a page of evil.example whose name leads to 127.0.0.1.
    assert server.client.get("/api/worklist", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
)
def test_another_page_cannot_change_anything(server: Server, headers: dict[str, str]) -> None:
    answer = server.client.post("/api/uploads", json={}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not-allowed")


def test_every_answer_carries_the_policy(server: Server) -> None:
    for path in ("/api/worklist", "/nothing", "/api/exams/none"):
        headers = server.client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/static/../serve.py", "/static/%2e%2e/serve.py", "/static/..%2fserve.py", "/static/x%00.js", "/static//x.js"],
)
def test_only_files_of_the_page_are_served(server: Server, path: str) -> None:
    assert server.client.get(path).status_code == 404


def test_an_upload_that_breaks_off_leaves_nothing(server: Server) -> None:
    upload = server.client.post("/api/uploads", json={}).json()["upload"]
    for path in (f"PUT /api/uploads/{upload}/files/0", "POST /api/uploads/zip", "POST /api/exams"):
        url = server.client.base_url
        with socket.create_connection((url.host, url.port or 80)) as broken:
            head = f"{path} HTTP/1.1\r\nHost: {url.host}:{url.port}\r\nAuthorization: Bearer {server.token}\r\n"
            broken.sendall(head.encode() + b"Content-Length: 1000\r\n\r\nPK\x03\x04 some of it")
    end = time.monotonic() + 20
    while "still being sent" in (answer := server.client.post(f"/api/uploads/{upload}/finish", json={})).text:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert (answer.status_code, "nothing was dropped" in answer.text) == (422, True), answer.text


@pytest.mark.parametrize("path", ["/api/worklist?since=x", "/api/worklist?since=9e99", "/api/exams/%00/frames?slice=1"])
def test_addresses_that_mean_nothing_get_one_line(server: Server, path: str) -> None:
    answer = server.client.get(path)
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["message"]


def test_another_address_needs_a_password(made: Made, store: Path, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("correct horse\n")
    with serving(made.out, "--store", store, "--host", "0.0.0.0", "--password-file", password) as server:
        port = server.client.base_url.port
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as guest:
            assert guest.get("/").headers["location"] == "/login"
            assert "password" in guest.get("/login").text
            assert guest.post("/login", data={"password": "wrong horse"}).status_code == 403
            assert guest.get("/api/worklist").status_code == 401
            assert guest.post("/login", data={"password": "correct horse"}).status_code == 303
            assert guest.get("/api/worklist").status_code == 200
            outside = guest.post("/api/exams", json={"path": "/etc"})
            assert (outside.status_code, outside.json()["error"]["code"]) == (422, "refused")
            tries = [guest.post("/login", data={"password": "x"}).status_code for _ in range(12)]
            assert tries[-1] == 429


def damaged(seed: int, exam: str) -> tuple[str, bytes]:
    """An address and a body: a good one with bytes changed, cut or added, or values of other kinds."""
    rng = random.Random(seed)
    polygon = flat(circle(9))
    good = rng.choice(
        [
            (
                "edits",
                f'{{"version":0,"by":"a","edit":{{"op":"set","structure":"cavity","phase":0,"slice":2,'
                f'"polygons":{polygon}}}}}',
            ),
            ("edits", '{"version":0,"edit":{"op":"copy","phase":0,"slice":2,"to":[{"phase":1,"slice":2}]}}'),
            ("edits", '{"version":0,"edit":{"op":"base","ed_slice":1,"es_slice":2}}'),
            ("edits", '{"version":0,"edit":{"op":"interpolate_phases","structure":"cavity","slice":2,"keys":[0,4]}}'),
            ("preview", f'{{"structure":"cavity","phase":0,"slice":2,"polygons":{polygon}}}'),
            ("undo", '{"version":0}'),
            ("approve", '{"version":99,"by":"Ann","comment":""}'),
            ("exclude", '{"version":99,"reason":"no"}'),
            ("here", '{"window":"w"}'),
        ]
    )
    body = bytearray(good[1].encode())
    for _ in range(rng.randint(1, 4)):
        where = rng.randrange(len(body))
        what = rng.choice(
            [
                b"[" * 3000,
                b"1e999",
                b"-1",
                b"null",
                b'"\\u0000"',
                b"\xff\xfe",
                b"{}",
                b"99999999999999999999",
                b"true",
                b"",
            ]
        )
        body[where : where + rng.randint(0, 6)] = what
    return f"/api/exams/{exam if rng.random() < 0.9 else '..%2f..'}/{good[0]}", bytes(body)


def test_damaged_bodies_are_refused_and_change_no_file_outside(server: Server, made: Made) -> None:
    outside = {path: path.stat().st_mtime_ns for path in made.out.parent.rglob("*")}
    exam = server.only()
    server.state(exam)
    for seed in range(BODIES):
        path, body = damaged(seed, exam)
        answer = server.client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code < 500, (seed, body[:200], answer.text)
        if answer.status_code >= 400:
            message = answer.json()["error"]["message"]
            assert message and "\n" not in message and "Traceback" not in message, seed
    for path, status in (("/api/exams", 400), (f"/api/exams/{exam}/edits", 413)):
        body = b"[" * 100 if status == 400 else b" " * (9 * 1024**2)
        assert server.client.post(path, content=body).status_code == status
    assert server.state(exam)["exam"]["phases"]
    assert {path: path.stat().st_mtime_ns for path in made.out.parent.rglob("*")} == outside
