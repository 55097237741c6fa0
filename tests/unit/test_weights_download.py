"""Downloads that go well, go wrong, and meet each other. The network is this machine."""

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepocr.errors import CheckpointError, DownloadError
from deepocr.settings import Settings
from deepocr.weights.download import ensure_weights
from tests.unit.weights_samples import (
    MANIFEST,
    SHARD,
    checkpoint_files,
    install_pget,
    tar_bytes,
    write_files,
)
from tests.unit.weights_server import Site, serve

PATIENT_S = 120.0
IMPATIENT = {"weights_stall_s": 2.0}
"""For what is to fail: the hub's client alone would try again for half a minute."""

NOTHING_THERE = "http://127.0.0.1:9"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    files = checkpoint_files()
    with serve(Site({**files, "model.tar": tar_bytes(files)})) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        # a stalled answer is ours to notice, not the hub client's
        monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "60")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield running


@pytest.fixture(params=["pget", "hub"])
def settings(
    request: pytest.FixtureRequest, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings for each way to fetch, with a fake pget first on PATH."""
    path = f"{install_pget(tmp_path / 'bin')}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    return make_settings(tmp_path, site, request.param)


def make_settings(tmp_path: Path, site: Site, source: str, **more: object) -> Settings:
    return Settings.model_validate(
        {
            "checkpoints": tmp_path / "checkpoints",
            "weights_source": source,
            "weights_url": f"{site.url}/model.tar",
            "weights_repo": MANIFEST.repo,
            "weights_revision": "main",
            "weights_stall_s": PATIENT_S,
            **more,
        }
    )


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def assert_whole(folder: Path) -> None:
    expected = {name: data for name, data in checkpoint_files().items() if name in MANIFEST.files}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected


def refuse_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to fetch is now a failure of the test."""

    def no_source(*_: object) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr("deepocr.weights.download.choose_source", no_source)


def test_fetches_what_the_manifest_names_and_nothing_else(
    settings: Settings, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ensure_weights(settings, MANIFEST)
    assert folder == settings.checkpoints / "Fake"
    assert_whole(folder)
    assert names_in(settings.checkpoints) == {"Fake", ".download.lock"}
    refuse_network(monkeypatch)
    assert ensure_weights(settings, MANIFEST) == folder


def test_hub_asks_for_named_files_only(tmp_path: Path, site: Site) -> None:
    ensure_weights(make_settings(tmp_path, site, "hub"), MANIFEST)
    assert sorted(site.gets) == sorted(["config.json", "tokenizer.json", SHARD])


@pytest.mark.parametrize("where", [".", "Fake"])
def test_hand_put_checkpoint_is_taken_without_network(
    tmp_path: Path, site: Site, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(tmp_path, site, "hub")
    folder = write_files(settings.checkpoints / where, checkpoint_files())
    refuse_network(monkeypatch)
    assert ensure_weights(settings, MANIFEST) == folder
    assert "modeling_fake.py" in names_in(folder)


@pytest.mark.parametrize("where", [".", "Fake"])
def test_half_a_hand_put_checkpoint_is_refused_and_left_alone(
    tmp_path: Path, site: Site, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(tmp_path, site, "hub")
    files = checkpoint_files()
    files[SHARD] = files[SHARD][:-100]
    folder = write_files(settings.checkpoints / where, files)
    refuse_network(monkeypatch)
    with pytest.raises(CheckpointError, match="is damaged"):
        ensure_weights(settings, MANIFEST)
    assert (folder / SHARD).read_bytes() == files[SHARD]


@pytest.mark.parametrize("fault", ["truncate", "stall", "404", "500"])
def test_a_failed_download_is_no_checkpoint_and_the_next_start_recovers(
    settings: Settings, site: Site, fault: str
) -> None:
    site.fault, site.fault_suffix = fault, "tar" if settings.weights_source == "pget" else SHARD
    with pytest.raises(DownloadError) as caught:
        ensure_weights(settings.model_copy(update=IMPATIENT), MANIFEST)
    assert "by hand" in str(caught.value)
    assert site.url in str(caught.value) or MANIFEST.repo in str(caught.value)
    if fault == "stall":
        assert "nothing arrived for 2 s" in str(caught.value)
    assert not (settings.checkpoints / "Fake").exists()
    if settings.weights_source == "pget":
        # what cannot be resumed takes no room until then
        assert names_in(settings.checkpoints) == {".download.lock"}

    site.fault = "none"
    assert_whole(ensure_weights(settings, MANIFEST))
    assert names_in(settings.checkpoints) == {"Fake", ".download.lock"}


def test_hub_goes_on_where_it_stopped(tmp_path: Path, site: Site) -> None:
    settings = make_settings(tmp_path, site, "hub")
    site.fault, site.fault_suffix = "stall", SHARD
    for _ in range(20):  # on a busy machine two seconds may not get so far
        with pytest.raises(DownloadError):
            ensure_weights(settings.model_copy(update=IMPATIENT), MANIFEST)
        if site.complete >= {"config.json", "tokenizer.json"}:
            break
    # half files of killed runs, by the name that some versions give them, do not pile up
    cache = settings.checkpoints / ".partial-Fake/hub/.cache/huggingface/download"
    left = write_files(cache, {"file.etag.0a1b2c3d.incomplete": b"half"})
    site.fault = "none"
    site.gets.clear()
    site.fault_suffix = ""
    with pytest.MonkeyPatch.context() as patch:
        seen: list[list[str]] = []
        patch.setattr(
            "deepocr.weights.download.check_space",
            lambda *_: seen.append([path.name for path in left.glob("*.incomplete")]),
        )
        ensure_weights(settings, MANIFEST)
    assert "file.etag.0a1b2c3d.incomplete" not in seen[0]
    assert site.gets == [SHARD]


def test_truncated_archive_that_the_program_calls_a_success(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{install_pget(tmp_path / 'bin')}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_PGET_CARELESS", "1")
    settings = make_settings(tmp_path, site, "pget")
    site.fault = "truncate"
    with pytest.raises(DownloadError, match=f"{SHARD}.*is damaged.*It was removed"):
        ensure_weights(settings, MANIFEST)
    assert names_in(settings.checkpoints) == {".download.lock"}


def test_wrong_checkpoint_is_refused_and_removed(settings: Settings, site: Site) -> None:
    files = checkpoint_files()
    files[SHARD] = files[SHARD].replace(b'"lm_head.weight"', b'"lm_body.weight"')
    site.files = {**files, "model.tar": tar_bytes(files)}
    with pytest.raises(DownloadError, match=r"1 tensors missing: lm_head\.weight.*lm_body\.weight"):
        ensure_weights(settings, MANIFEST)
    assert names_in(settings.checkpoints) == {".download.lock"}


def test_archive_with_folders_and_links(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{install_pget(tmp_path / 'bin')}{os.pathsep}{os.environ['PATH']}")
    settings = make_settings(tmp_path, site, "pget")
    site.files["model.tar"] = tar_bytes(checkpoint_files(), top="a/b/")
    assert_whole(ensure_weights(settings, MANIFEST))


def test_archive_whose_weights_are_a_link(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{install_pget(tmp_path / 'bin')}{os.pathsep}{os.environ['PATH']}")
    settings = make_settings(tmp_path, site, "pget")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(checkpoint_files()[SHARD])
    buffer = io.BytesIO(tar_bytes({k: v for k, v in checkpoint_files().items() if k != SHARD}))
    with tarfile.open(fileobj=buffer, mode="a") as archive:
        link = tarfile.TarInfo(SHARD)
        link.type, link.linkname = tarfile.SYMTYPE, str(elsewhere)
        archive.addfile(link)
    site.files["model.tar"] = buffer.getvalue()
    with pytest.raises(DownloadError, match=f"{SHARD} is missing"):
        ensure_weights(settings, MANIFEST)
    assert elsewhere.exists()


CHILD = """
import sys
from deepocr.settings import Settings
from deepocr.weights.download import ensure_weights
from tests.unit.weights_samples import MANIFEST
ensure_weights(Settings.model_validate_json(sys.argv[1]), MANIFEST)
"""


def start_process(settings: Settings) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, settings.model_dump_json()], cwd=Path(__file__).parents[2]
    )


def test_two_processes_download_once(settings: Settings, site: Site) -> None:
    processes = [start_process(settings) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert_whole(settings.checkpoints / "Fake")
    assert len(site.gets) == len(set(site.gets))


def test_a_killed_process_leaves_nothing_that_counts(settings: Settings, site: Site) -> None:
    site.fault, site.fault_suffix = "stall", "tar" if settings.weights_source == "pget" else SHARD
    process = start_process(settings.model_copy(update={"weights_stall_s": 60.0}))
    deadline_s = time.monotonic() + 90
    while not {"model.tar", SHARD} & set(site.gets):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (settings.checkpoints / "Fake").exists()
    assert (settings.checkpoints / ".partial-Fake").exists()

    # the orphaned fetch still holds the lock; it ends now, and only then the next one begins
    site.fault = "none"
    site.released.set()
    assert_whole(ensure_weights(settings, MANIFEST))
    assert names_in(settings.checkpoints) == {"Fake", ".download.lock"}


def test_no_network(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", NOTHING_THERE)
    offline = settings.model_copy(update={"weights_url": f"{NOTHING_THERE}/model.tar"})
    with pytest.raises(DownloadError, match=r"Check the network.*by hand"):
        ensure_weights(offline, MANIFEST)


def test_downloads_switched_off(tmp_path: Path, site: Site) -> None:
    settings = make_settings(tmp_path, site, "hub", weights_download=False)
    with pytest.raises(CheckpointError, match="DEEPOCR_WEIGHTS_DOWNLOAD is off"):
        ensure_weights(settings, MANIFEST)
    assert site.gets == []


def test_disk_too_small(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepocr.weights.download.SPARE_BYTES", 1 << 60)
    with pytest.raises(DownloadError, match=r"need 1152921504\.\d GB more"):
        ensure_weights(make_settings(tmp_path, site, "hub"), MANIFEST)
    assert site.gets == []


def test_folder_that_cannot_be_made(tmp_path: Path, site: Site) -> None:
    (tmp_path / "file").write_bytes(b"")
    settings = make_settings(tmp_path, site, "hub", checkpoints=tmp_path / "file" / "checkpoints")
    with pytest.raises(DownloadError, match="DEEPOCR_CHECKPOINTS"):
        ensure_weights(settings, MANIFEST)


def test_nothing_to_download_with(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DownloadError, match="install pget"):
        ensure_weights(make_settings(tmp_path, site, "pget"), MANIFEST)


def test_command_line_names_the_folder_or_the_reason(tmp_path: Path, site: Site) -> None:
    """The script with the published manifest: a hand-put folder is enough, nothing is fetched."""
    root = Path(__file__).parents[2]
    script = [sys.executable, str(root / "scripts/download_weights.py")]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    whole = write_files(tmp_path / "whole", checkpoint_files())
    done = subprocess.run(
        [*script, str(whole)], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(whole))

    site.fault = "404"
    failed = subprocess.run(
        [*script, str(tmp_path / "empty"), "--source", "hub"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode == 1
    assert "weights: hub could not fetch deepseek-ai/DeepSeek-OCR at" in failed.stderr
