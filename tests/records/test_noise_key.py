import os
import stat
from pathlib import Path

import pytest

from fedpriv.errors import DamagedRunError, InputError
from fedpriv.records import noise_key
from fedpriv.records.atomic import temporary
from fedpriv.records.noise_key import create_noise_key, destroy_noise_key, read_noise_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "noise.key"


def test_a_key_is_its_owner_s_only_and_new_each_time(path: Path) -> None:
    key = create_noise_key(path)
    assert len(key) == 16
    assert read_noise_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    destroy_noise_key(path)
    assert create_noise_key(path) != key


def test_an_existing_key_is_never_replaced(path: Path) -> None:
    key = create_noise_key(path)
    with pytest.raises(InputError, match="exists already"):
        create_noise_key(path)
    assert read_noise_key(path) == key


def test_a_kill_while_creating_leaves_no_half_key(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            create_noise_key(path)
    assert os.listdir(path.parent) == []


def test_a_missing_or_short_key_is_damage(path: Path) -> None:
    with pytest.raises(DamagedRunError, match="force=true"):
        read_noise_key(path)
    path.write_bytes(bytes(15))
    with pytest.raises(DamagedRunError, match="force=true"):
        read_noise_key(path)


def test_a_destroyed_key_is_overwritten_and_gone(path: Path) -> None:
    key = create_noise_key(path)
    os.link(path, path.with_name("same-blocks"))
    destroy_noise_key(path)
    destroy_noise_key(path)
    assert os.listdir(path.parent) == ["same-blocks"]
    assert path.with_name("same-blocks").read_bytes() == bytes(len(key))


def test_a_kill_while_destroying_leaves_no_false_key_and_is_completed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_noise_key(path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(noise_key, "sync_folder", killed)
        with pytest.raises(KeyboardInterrupt):
            destroy_noise_key(path)
    assert not path.exists()
    assert temporary(path).exists()
    destroy_noise_key(path)
    assert os.listdir(path.parent) == []
