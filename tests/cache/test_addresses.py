"""A URL names a place and a store; every mistake with it is told in one line with the next step."""

from __future__ import annotations

import sys

import obstore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscout.cache.remote import place
from layerscout.cache.remote.place import split_url
from layerscout.cache.remote.transfer import pull, push
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
    assert "layerscout[remote]" in raised.value.hint
    push(store, tmp_path / "place")
    SMALL.check(pull(tmp_path / "place", tmp_path / "reader"))
