"""Hostile names from files and networks, sent through every place where text leaves the program: nothing there obeys them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hostile import HOSTILE, unharmed

from layerscout.cache.catalog.entries import Entry
from layerscout.cache.catalog.prune import Deletion, Victim
from layerscout.commands import console
from layerscout.commands.stores import text as store_text
from layerscout.progress import Reporter


def entry(name: str) -> Entry:
    return Entry(
        store_id="ls1-0123456789abcdef",
        path=name,
        bytes=7,
        committed=0.0,
        names=(name,),
        backbone=name,
        layers=3,
        rows=4,
        created=name,
        pinned=True,
        damage=name,
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_terminal(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    plain = console.table(("a", "b"), [("one", "two")]).count("\n")
    assert console.table((name, "b"), [(name, 1)]).count("\n") == plain
    with pytest.raises(SystemExit):
        console.fail(name, name, 4)
    assert capsys.readouterr().err.count("\n") == 2
    console.Call().emit({name: name, "list": [name], "none": None})
    told = capsys.readouterr().out
    assert told.count("\n") == 3
    assert unharmed(told)
    console.Call().emit({name: name}, name)
    assert unharmed(capsys.readouterr().out.replace("\t", ""))
    with console.Call(as_json=True).guarded() as call:
        call.emit({name: name})
    assert unharmed(capsys.readouterr().out)


@pytest.mark.parametrize("name", HOSTILE)
def test_progress(name: str) -> None:
    stream = io.StringIO()
    reporter = Reporter(stream=stream)
    reporter.say(name)
    with reporter.task(name, 3, name) as task:
        task.advance(1, layer=name)
    assert stream.getvalue().count("\n") == 2
    assert unharmed(stream.getvalue())


@pytest.mark.parametrize("name", HOSTILE)
def test_lists_of_stores(name: str) -> None:
    def lines(text: str) -> str:
        return "\n".join(
            (
                store_text.listing([entry(text)], [entry(text)]),
                *store_text.hints({"root": "/r", "stores": [], "dangling_names": [text], "damaged_names": [text]}),
                store_text.information(
                    {
                        "store": "ls1-0",
                        text: [text],
                        "layers": [{"depth": 0, "name": text, "role": text, "width": 2, "dtype": text, "bytes": 3}],
                        "layers_here": [text],
                        "identity": {text: {text: text}},
                        "provenance": {"written_by": text},
                    }
                ),
                store_text.deletion(
                    Deletion(
                        root=Path("/r"),
                        victims=(Victim(kind="store", path=Path("/r") / "x", bytes=2, why=text),),
                        kept=(("ls1-0", text),),
                        absent=(),
                    )
                ),
            )
        )

    assert unharmed(lines(name))
    assert lines(name).count("\n") == lines("a").count("\n")
