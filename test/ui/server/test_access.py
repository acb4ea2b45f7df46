# SPDX-License-Identifier: Apache-2.0
"""Who may talk to the server: tokens, the cookie, hosts and origins."""

from __future__ import annotations

import socket
import time

import pytest

pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy (extra ui)")
pytest.importorskip("alembic", reason="needs alembic (extra ui)")
from sam2_ros.errors import UserError
from sam2_ros.ui.server import access as module
from sam2_ros.ui.server.access import Access, TokenBucket
from sam2_ros.ui.server.config import ServerConfig, check_host
from sam2_ros.ui.session import WorkspaceConfig

TOKEN = "sixteen-or-more-letters"


def made(host: str = "127.0.0.1", port: int = 8322) -> Access:
    return Access(TOKEN, host, port, logins_per_s=5)


@pytest.mark.parametrize(
    "given", ["", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), None, 7, ["x"], "\ud800", {"a": 1}]
)
def test_only_the_token_opens_the_page(given):
    assert made().is_token(TOKEN)
    assert not made().is_token(given)


def test_secrets_are_compared_in_constant_time(monkeypatch):
    compared = []
    real = module.hmac.compare_digest
    monkeypatch.setattr(module.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
    access = made()
    assert not access.is_token("x")
    assert (TOKEN.encode(), b"x") in compared
    assert not access.is_logged_in(f"{access.cookie_name}=x")
    assert compared[-1][0] == b"x"


def test_a_one_time_token_opens_the_page_once_and_not_for_long(monkeypatch):
    access = made()
    first, second = access.one_time_token(), access.one_time_token()
    assert len({first, second, TOKEN}) == 3
    assert access.is_token(first)
    assert not access.is_token(first)
    now = time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + module.ONE_TIME_S + 1)
    assert not access.is_token(second)
    assert access.is_token(TOKEN)


def test_the_cookie_is_not_the_token_and_belongs_to_token_and_port():
    access = made()
    assert TOKEN not in access.cookie
    assert access.is_logged_in(f"other={{'a': 1}}; {access.cookie_name}={access.cookie}")
    assert not access.is_logged_in("")
    assert not access.is_logged_in(f"{access.cookie_name}={TOKEN}")
    assert not access.is_logged_in(f"{access.cookie_name}={access.cookie}x")
    assert not access.is_logged_in(f"{made(port=9).cookie_name}={access.cookie}")
    assert Access(TOKEN + "2", "127.0.0.1", 8322, 5).cookie != access.cookie


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8322", "localhost:8322", "LOCALHOST:9000", "localhost", "[::1]:8322"]
)
def test_names_of_this_machine_are_served(host):
    assert not made().host_problem(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:8322", "127.0.0.1.evil.example", "localhost.evil.example:8322", "evil@127.0.0.1", "", " ",
        "127.0.0.1:8322/x", "192.168.1.5:8322", "127.0.0.1\x00", "localhost:8322:8322", "[::1", "0x7f.1", "[evil]:1",
        "xn--lcalhost-54a", "localhost\u0130",
    ],
)  # fmt: skip
def test_a_name_that_an_attacker_points_here_is_not_served(host):
    assert "host" in made().host_problem(host)


def test_beyond_the_loopback_addresses_and_own_names_are_served_but_no_others():
    access = made("0.0.0.0")
    for host in ("192.168.1.5:8322", "127.0.0.1:8322", f"{socket.gethostname()}:8322", "[fe80::1]:8322"):
        assert not access.host_problem(host), host
    assert access.host_problem("evil.example:8322")
    assert not made("robot.lan").host_problem("robot.lan:8322")


def test_only_the_page_itself_is_an_origin():
    problem = Access.origin_problem
    assert not problem("http://localhost:8322", "localhost:8322", required=True)
    assert not problem("https://robot.lan", "robot.lan", required=True)  # behind a proxy
    assert not problem(None, "localhost:8322", required=False)
    assert problem(None, "localhost:8322", required=True)
    for origin in ("null", "", "http://localhost:8323", "http://evil.example", "localhost:8322", "file://"):
        assert problem(origin, "localhost:8322", required=False), origin


def test_the_bucket_gives_its_burst_and_then_its_rate(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    bucket = TokenBucket(per_s=2, burst=3)
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0.5]
    now[0] += 0.5
    assert bucket.take() == 0
    assert bucket.take() > 0
    now[0] += 100
    assert [bucket.take() > 0 for _ in range(4)] == [False, False, False, True]


def test_other_machines_need_a_token_that_was_chosen(tmp_path):
    with pytest.raises(UserError, match=r"--host 0\.0\.0\.0 lets other machines in.*--token"):
        check_host("0.0.0.0", None)
    check_host("0.0.0.0", TOKEN)
    for host in ("127.0.0.1", "localhost", "::1", "127.0.0.2"):
        check_host(host, None)
    with pytest.raises(UserError, match="--token of 5 characters given, 16 or more"):
        ServerConfig(WorkspaceConfig(tmp_path), token="short")
    one, other = ServerConfig(WorkspaceConfig(tmp_path)).token, ServerConfig(WorkspaceConfig(tmp_path)).token
    assert one != other
    assert len(one) >= 40
