"""What a stranger's store says is shown, and followed only when the user says so: checkpoints elsewhere, options of environments."""

from __future__ import annotations

import socket

import pytest
from by_hand import select, settings

from layerscout.cache.opening import open_store
from layerscout.cache.remote.transfer import push
from layerscout.errors import UsageError
from layerscout.extract import trust
from layerscout.extract.encoder import backbone_of
from layerscout.extract.passports.stored_passports import describe_passport, open_passport, read_passport
from layerscout.rl import plan as planning
from layerscout.rl.run import plan, run

ELSEWHERE = "wan:somebody/else", {"size": [32, 32]}


@pytest.fixture
def stranger(monkeypatch, tiny_store):
    """The store as if its provenance named a repository of the hub; nothing may be asked of a network."""

    def fails(*arguments, **named):
        raise AssertionError("a network was asked")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, fails)
    monkeypatch.setattr(socket, "getaddrinfo", fails)
    for module in (trust, planning):
        monkeypatch.setattr(module, "backbone_source", lambda store: ELSEWHERE)
    return tiny_store


def test_a_checkpoint_elsewhere_is_fetched_only_from_a_trusted_store(stranger, small, tmp_path):
    passport = read_passport(stranger, "blocks.3")
    for use in (lambda: backbone_of(stranger), lambda: open_passport(stranger, "blocks.3")):
        with pytest.raises(UsageError, match="says that its model comes from somebody/else, which is not on this machine") as error:
            use()
        assert "--trust" in error.value.hint
    with pytest.raises(AssertionError, match="a network was asked"):
        backbone_of(stranger, trust=True)
    shown = describe_passport(stranger, passport)
    assert (shown["not_here"], shown["read_bytes"]) == ("somebody/else", None)


def test_a_dry_run_shows_what_a_run_would_follow_and_the_run_does_not(stranger, small, tmp_path):
    selection = select(tmp_path / "intercept.json", ("ranked", stranger, "blocks.3"), ("pixels", stranger, "pixels"))
    config = settings(selection, tmp_path / "out", small.root, environment="layerscout/Intercept-v0", updates=2)
    told = plan(config).describe()
    assert told["to_fetch"] == ["somebody/else"]
    assert told["needs_trust"] is True
    assert told["backbones"] == dict([ELSEWHERE])
    with pytest.raises(UsageError, match="somebody/else, which is not on this machine"):
        run(plan(config))
    assert not (tmp_path / "out").exists()
    trusted = plan(config.model_copy(update={"trust": True}))
    assert trusted.describe()["needs_trust"] is False
    assert trusted.key == plan(config).key, "what may be followed changes no number"


def test_options_of_a_store_from_elsewhere_are_played_only_when_it_is_trusted(small, synthetic_store, tmp_path, monkeypatch):
    selection = select(tmp_path / "grid.json", ("ranked", synthetic_store, "structured_mid"), ("pixels", synthetic_store, "pixels"))
    push(synthetic_store, (tmp_path / "place").as_uri())
    open_store(tmp_path / "reader", f"{(tmp_path / 'place').as_uri()}/{synthetic_store.id}")
    config = settings(selection, tmp_path / "out", tmp_path / "reader", updates=2)
    with monkeypatch.context() as patch:
        patch.setattr(planning, "world_of", lambda *arguments: pytest.fail("the environment was made"))
        planned = plan(config)
        told = planned.describe()
        assert told["environment_options"] == {"observation": "planes"}
        assert told["needs_trust"] is True
        with pytest.raises(UsageError, match=r'was made elsewhere and wants layerscout/Grid-v0 with the options {"observation": "planes"}'):
            run(planned)
    assert not (tmp_path / "out").exists()
    trusted = plan(config.model_copy(update={"trust": True}))
    assert (trusted.actions, trusted.key) == (planned.actions, planned.key)


@pytest.mark.parametrize(
    ("source", "here"),
    [
        ("somebody/else", False),
        ("https://example.org/x", False),
        ("s3://bucket/x", False),
        ("file:///no/such", False),
        (".", True),
        ("~", True),
    ],
)
def test_what_is_here_is_told_without_a_network(source, here, stranger):
    assert trust.is_here(source) is here
