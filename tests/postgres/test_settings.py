"""Settings: what is told wrongly stops the service, in one sentence."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.settings import KNOWN, CannotStart, environment_of, read


def test_with_nothing_set_the_service_runs_on_this_machine_alone_with_its_own_database() -> None:
    settings = read({})
    assert settings.database_url is None
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 2)
    assert settings.base_url == "http://127.0.0.1:8000"
    assert settings.data == Path.cwd() / "var"
    assert settings.keys == Path.cwd() / "var" / "keys"
    assert settings.origin == "127.0.0.1/log"
    assert settings.demo is False


def test_a_misspelt_setting_is_refused_with_the_nearest_known_name() -> None:
    with pytest.raises(CannotStart, match=r"CUSTODY_DATABSE_URL is no setting .* is CUSTODY_DATABASE_URL"):
        read({"CUSTODY_DATABSE_URL": "postgresql://x"})


def test_other_programs_variables_and_the_tests_own_are_left_alone() -> None:
    assert read({"PATH": "/bin", "CUSTODY_TEST_POSTGRES": "16", "CUSTODIAN": "1"}) == read({})


@pytest.mark.parametrize("value", ["1", "true", "yes", "Fictional", "demo"])
def test_the_demo_is_switched_on_by_name_and_by_nothing_else(value: str) -> None:
    assert read({"CUSTODY_DEMO": "fictional"}).demo is True
    with pytest.raises(CannotStart, match="CUSTODY_DEMO"):
        read({"CUSTODY_DEMO": value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CUSTODY_PORT", "0"),
        ("CUSTODY_PORT", "65536"),
        ("CUSTODY_PORT", "８０００"),
        ("CUSTODY_PORT", "-1"),
        ("CUSTODY_PORT", " 80"),
        ("CUSTODY_WORKERS", "0"),
        ("CUSTODY_WORKERS", "two"),
        ("CUSTODY_BASE_URL", "custody.example"),
        ("CUSTODY_BASE_URL", "ftp://custody.example"),
        ("CUSTODY_BASE_URL", "https://custody.example/sub"),
        ("CUSTODY_BASE_URL", "https://custody.example?x=1"),
        ("CUSTODY_BASE_URL", "https://custody.example:port"),
        ("CUSTODY_BASE_URL", "https://somebody@custody.example"),
        ("CUSTODY_ORIGIN", "https://custody.example/log"),
        ("CUSTODY_ORIGIN", "two words"),
        ("CUSTODY_ORIGIN", "a+b"),
        ("CUSTODY_ISSUERS", "/nowhere/issuers.json"),
        ("CUSTODY_DATABASE_URL", "mysql://custody"),
        ("CUSTODY_DATABASE_URL", "postgresql://"),
        ("CUSTODY_CLERK_DATABASE_URL", "postgresql://custody_clerk@db/custody"),
        ("CUSTODY_PROXIES", "*"),
        ("CUSTODY_PROXIES", "0.0.0.0/0"),
        ("CUSTODY_PROXIES", "::/0"),
        ("CUSTODY_PROXIES", "proxy.example"),
        ("CUSTODY_PROXIES", "10.0.0.7/24"),
        ("CUSTODY_PROXIES", "10.0.0.7,"),
    ],
)
def test_a_value_that_cannot_be_right_is_refused_by_the_settings_name(name: str, value: str) -> None:
    with pytest.raises(CannotStart, match=name) as refused:
        read({name: value})
    assert "\n" not in str(refused.value)


def test_a_refused_address_is_not_repeated_because_it_may_hold_a_password() -> None:
    with pytest.raises(CannotStart) as refused:
        read({"CUSTODY_DATABASE_URL": "mysql://me:hunter2@db"})
    assert "hunter2" not in str(refused.value)


def test_an_address_of_postgresql_is_used_with_our_driver_however_it_is_written() -> None:
    for scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        settings = read({"CUSTODY_DATABASE_URL": f"{scheme}://custody_service@db/custody"})
        assert settings.database_url == "postgresql+psycopg://custody_service@db/custody"


def test_no_proxy_is_believed_unless_it_is_named() -> None:
    assert read({}).proxies == ()
    assert read({"CUSTODY_PROXIES": "10.0.0.7, 10.0.1.0/24,::1"}).proxies == (
        "10.0.0.7",
        "10.0.1.0/24",
        "::1",
    )


def test_the_logs_name_follows_the_address_unless_it_is_given() -> None:
    assert read({"CUSTODY_BASE_URL": "https://custody.example/"}).origin == "custody.example/log"
    assert read({"CUSTODY_ORIGIN": "evidence.example/log"}).origin == "evidence.example/log"


def test_an_ipv6_address_is_bracketed_in_the_address_for_people() -> None:
    assert read({"CUSTODY_HOST": "::1"}).base_url == "http://[::1]:8000"


@given(
    port=st.integers(1, 65535),
    workers=st.integers(1, 64),
    demo=st.booleans(),
    database=st.booleans(),
    name=st.text("abcdefgh", min_size=1, max_size=8),
)
def test_a_child_process_reads_the_same_settings_as_its_parent(
    port: int, workers: int, demo: bool, database: bool, name: str
) -> None:
    told = {
        "CUSTODY_PORT": str(port),
        "CUSTODY_WORKERS": str(workers),
        "CUSTODY_DATA": f"/srv/{name}",
        "CUSTODY_BASE_URL": f"https://{name}.example",
        "CUSTODY_DEMO": "fictional" if demo else "",
        "CUSTODY_PROXIES": f"10.0.0.{workers},2001:db8::/32" if demo else "",
    }
    if database:
        told |= {
            "CUSTODY_DATABASE_URL": f"postgresql://custody_service:{name}@db/custody",
            "CUSTODY_CLERK_DATABASE_URL": f"postgresql://custody_clerk:{name}@db/custody",
        }
    settings = read(told)
    assert read(environment_of(settings)) == settings


def test_every_known_setting_says_what_it_is_for() -> None:
    assert all(KNOWN.values())
