"""A URL names a place and a store; every mistake with it is told in one line with the next step."""

from __future__ import annotations

import sys

import obstore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscout.cache.catalog.entries import list_remote_entries
from layerscout.cache.durable import write_atomic
from layerscout.cache.opening import find_folder, open_store
from layerscout.cache.records import encode_record
from layerscout.cache.remote import place
from layerscout.cache.remote.address import check_address, check_variables
from layerscout.cache.remote.bucket import explained_failures
from layerscout.cache.remote.mirror import Origin
from layerscout.cache.remote.place import open_place, split_url
from layerscout.cache.remote.published import list_remote
from layerscout.cache.remote.transfer import plan_push, pull, push
from layerscout.cache.store import Store
from layerscout.cache.testing import made_up
from layerscout.errors import DataError, MissingExtraError, UsageError

SMALL, OTHER_ID = made_up(0), "ls1-" + "0" * 32


@pytest.fixture
def store(tmp_path) -> Store:
    return SMALL.write(tmp_path / "here")


@given(
    where=st.sampled_from(["s3://b", "s3://b/p", "s3://ls1-b/p/q", "gs://stores", "az://c/p", "file:///f", "file://", "/f/g", "f", "."]),
    form=st.sampled_from(["{0}/{1}", "{0}/stores/{1}", "{0}/{1}/", "{0}/stores/{1}/"]),
    digits=st.integers(0, 2**128 - 1),
)
def test_a_store_is_named_below_its_place(where, form, digits):
    store_id = f"ls1-{digits:032x}"
    assert split_url(form.format(where, store_id)) == (where, store_id)
    assert split_url(f"{where}/stores") == (where, None)
    assert split_url(where) == (where, None)
    assert split_url(f"/{store_id}") == ("/", store_id)


@pytest.mark.parametrize("bad", ["ftp://x/y", "s3://", "s3:///x", "file://host/x", "memory://"])
def test_an_address_that_is_none_is_a_usage_error(store, bad):
    with pytest.raises(UsageError, match="not the URL of a place") as raised:
        push(store, bad)
    assert "s3://bucket" in raised.value.hint


SECRETS = [
    "s3://KEY:SECRET@bucket/x",
    "s3://KEY:SE/CRET@bucket/x",
    "s3://KEY@bucket",
    "s3://bucket/x?X-Amz-Signature=SECRET",
    "gs://bucket/x#SECRET",
    "az://SECRET:1@container",
    "file:///folder?SECRET",
    "s3://bucket:SECRET/x",
    "https://KEY:SECRET@host/x",
    "s3://KEY%3ASECRET%40bucket/x",
    "s3://bucket/x%3FX-Amz-Signature=SECRET",
    "s3:/KEY:SECRET@bucket/x",
    "S3:/KEY:SECRET@bucket/x",
]


@pytest.mark.parametrize("url", SECRETS)
def test_an_address_with_a_secret_is_refused_before_it_is_printed_or_kept(store, tmp_path, url):
    root = tmp_path / "root"
    for call in (
        lambda: push(store, url),
        lambda: plan_push(store, url),
        lambda: pull(url, root),
        lambda: list_remote(url),
        lambda: open_store(root, url),
        lambda: open_store(root, f"{url}/{OTHER_ID}"),
        lambda: find_folder(root, url),
        lambda: list_remote_entries(url),
        lambda: open_place(url),
    ):
        with pytest.raises(UsageError) as raised:
            call()
        assert "SECRET" not in str(raised.value) + raised.value.hint
        assert "KEY" not in str(raised.value) + raised.value.hint
    assert not root.exists()


def test_a_mirror_whose_origin_has_a_secret_is_not_asked(store, url, tmp_path):
    """Such as an older version kept it."""
    push(store, url)
    mirror = open_store(tmp_path / "root", f"{url}/{store.id}")
    write_atomic(mirror.path / "origin.json", encode_record(Origin(url="s3://KEY:SECRET@bucket/x")))
    with pytest.raises(UsageError) as raised:
        open_store(tmp_path / "root", store.id).layer("blocks.0")
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("word", ["folder/a@b", "a?b", "C:/x", "ls1-0", "./s3:/x@y", "file:///a%3Fb%40c"])
def test_what_is_no_url_may_hold_any_letter(word):
    check_address(word)


@pytest.mark.parametrize(
    ("scheme", "name", "value"),
    [
        ("s3", "AWS_ENDPOINT_URL", "localhost:9000"),
        ("s3", "AWS_ENDPOINT_URL", "http://"),
        ("s3", "AWS_ENDPOINT_URL_S3", "http://host:port"),
        ("s3", "AWS_ENDPOINT", "http://[host"),
        ("s3", "AWS_ENDPOINT_URL", "http://host\n"),
        ("s3", "AWS_ACCESS_KEY_ID", "SECRET\n"),
        ("s3", "AWS_SECRET_ACCESS_KEY", "SEC RET"),
        ("s3", "AWS_SESSION_TOKEN", "SECRETü"),
        ("s3", "AWS_REGION", "eu west"),
        ("s3", "AWS_DEFAULT_REGION", "eu/west"),
        ("az", "AZURE_STORAGE_ACCOUNT_NAME", "a\nb"),
        ("az", "AZURE_STORAGE_ENDPOINT", "host"),
        ("s3", "AWS_ENDPOINT_URL_STS", "localhost:9"),
        ("s3", "AWS_METADATA_ENDPOINT", "::"),
        ("s3", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "::"),
        ("s3", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/a b\n"),
        ("az", "AZURE_AUTHORITY_HOST", "localhost:9"),
        ("az", "AZURE_STORAGE_AUTHORITY_HOST", "::"),
        ("az", "AZURE_MSI_ENDPOINT", "localhost:9"),
        ("az", "AZURITE_BLOB_STORAGE_URL", "localhost:9"),
        ("az", "AZURE_STORAGE_TENANT_ID", "a b\n"),
        ("az", "AZURE_STORAGE_ACCOUNT_NAME", "evil.example/x"),
        ("gs", "GOOGLE_BASE_URL", "localhost:9"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named_and_its_value_is_not(monkeypatch, scheme, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"^{name} ") as raised:
        open_place(f"{scheme}://bucket/x")
    assert value == "http://" or value not in str(raised.value)


def test_variables_that_make_sense_are_let_through():
    sound = {
        "AWS_ENDPOINT_URL": "https://minio.example:9000/",
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_PROFILE": "my own profile",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials",
        "AWS_ENDPOINT_URL_S3": "",
        "AWS_ENDPOINT_URL_STS": "https://sts.eu-west-1.amazonaws.com",
        "AZURE_STORAGE_ACCOUNT_KEY": "not\nasked for",
    }
    check_variables("s3", sound)
    check_variables("gs", {"GOOGLE_SERVICE_ACCOUNT_KEY": '{\n "a": 1}'})
    check_variables("file", {"AWS_REGION": "\n"})


def test_a_value_that_the_library_cannot_take_is_told_with_the_variables(monkeypatch):
    monkeypatch.setenv("AWS_S3_EXPRESS", "maybe")
    with pytest.raises(DataError, match='failed to parse "maybe"') as raised:
        open_place("s3://bucket/x")
    assert "AWS_S3_EXPRESS" in raised.value.hint


@pytest.mark.parametrize("url", ["s3://bucket/x\ny", "s3://bucket/\x00", "file:///x\x1b[2J", "s3:/\nbucket"])
def test_an_address_is_one_line_of_visible_letters(url):
    with pytest.raises(UsageError, match="control character") as raised:
        check_address(url)
    assert str(raised.value).isprintable()


def test_a_panic_of_the_library_is_one_line_that_names_the_variables(monkeypatch):
    class PanicException(BaseException):
        """What pyo3 raises; it is no Exception."""

    monkeypatch.setenv("AWS_SOMETHING", "odd")
    with pytest.raises(DataError, match="InvalidUri") as raised, explained_failures("s3://bucket"):
        raise PanicException("called `Result::unwrap()`: InvalidUri\n  at src/lib.rs")
    assert "\n" not in str(raised.value)
    assert "AWS_SOMETHING" in raised.value.hint
    with pytest.raises(KeyboardInterrupt), explained_failures("s3://bucket"):
        raise KeyboardInterrupt


def test_mistakes_are_told_in_one_line_with_the_next_step(server, url, store, tmp_path, monkeypatch):
    def told(call):
        with pytest.raises(DataError) as raised:
            call()
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) < 300
        assert raised.value.hint
        return str(raised.value), raised.value.hint

    assert "no such bucket" in told(lambda: push(store, "s3://nowhere/x"))[0]
    assert "no such bucket" in told(lambda: pull("s3://nowhere/x", tmp_path))[0]
    assert "no store at" in told(lambda: pull(url, tmp_path))[0]
    push(store, url)
    near = store.id[:-1] + ("0" if store.id[-1] != "0" else "1")
    assert f"did you mean '{store.id}'" in told(lambda: pull(f"{url}/{near}", tmp_path))[0]
    assert "no store 'ls1-12'" in told(lambda: pull(f"{url}/ls1-12", tmp_path))[0]
    assert told(lambda: push(store, f"{url}/{OTHER_ID}"))[1] == f"push to {url}"
    push(made_up(3).write(tmp_path / "here"), url)
    message, hint = told(lambda: pull(url, tmp_path / "r"))
    assert "2 stores" in message
    assert hint.startswith(f"name one: {url}/ls1-")
    assert "no folder" in told(lambda: pull(tmp_path / "nowhere", tmp_path))[0]
    monkeypatch.setattr(place, "RETRIES", {"max_retries": 0})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9" in told(lambda: pull(url, tmp_path))[0]
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    assert "AZURE_STORAGE_ACCOUNT_NAME" in told(lambda: pull("az://container/x", tmp_path))[1]


@pytest.mark.parametrize("kind", [obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError])
def test_no_access_names_the_variables_that_give_it(url, store, monkeypatch, kind):
    def refuse(*arguments, **options):
        raise kind("403 with a\nlong story")

    monkeypatch.setattr(obstore, "get", refuse)
    with pytest.raises(DataError, match="no access") as raised:
        push(store, url)
    assert "AWS_ACCESS_KEY_ID" in raised.value.hint


def test_without_the_extra_folders_work_and_buckets_name_it(store, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "obstore"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError) as raised:
        push(store, "s3://bucket/x")
    assert ".[remote]" in raised.value.hint
    push(store, tmp_path / "place")
    SMALL.check(pull(tmp_path / "place", tmp_path / "reader"))
