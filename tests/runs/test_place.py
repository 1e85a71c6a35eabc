"""Runs by the text that people name them by."""

from pathlib import Path

import pytest

from sartor.errors import InputError, RecordError
from sartor.runs import Record, find_run


def test_a_folder_means_its_latest_such_run_and_others_are_refused(tmp_path: Path) -> None:
    with Record(tmp_path) as record:
        config = {"primary": "accuracy", "direction": "max"}
        for kind, own in (("search", {"shared_weights": "a:b"}), ("search", {}), ("trust", {})):
            record.create_run(kind, "images", {**config, **own}, seed=0, environment={})
        ids = [run.id for run in record.runs()]
    assert find_run(tmp_path, "search", lambda run: run.kind == "search")[1].id == ids[1]
    assert find_run(tmp_path, "search by them", lambda run: "shared_weights" in run.config)[1].id == ids[0]
    folder, run = find_run(f"{tmp_path}:{ids[0]}", "search", lambda run: run.kind == "search")
    assert (folder, run.id) == (tmp_path, ids[0])
    with pytest.raises(InputError, match=f"{ids[2]} is no search; there are: {ids[0]}, {ids[1]}"):
        find_run(f"{tmp_path}:{ids[2]}", "search", lambda run: run.kind == "search")
    with pytest.raises(InputError, match="has no supernet; train one"):
        find_run(tmp_path, "supernet", lambda run: run.kind == "supernet", "train one")
    with pytest.raises(InputError, match="nowhere: expected a folder of results"):
        find_run("nowhere", "search", lambda run: True)
    with pytest.raises(RecordError, match="no run 'x'"):
        find_run(f"{tmp_path}:x", "search", lambda run: True)
