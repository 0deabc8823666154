"""Models in Hugging Face's layout: folders, the local cache, and a hub of our own making; no network."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from anyrestore import Restorer
from anyrestore.errors import ModelError, OutputError, UsageError
from anyrestore.zoo import hub, save_weights
from tiny_models import image, make


class Unreachable(Exception):  # noqa: N818 (of the package that the hub's own uses: no OSError)
    pass


class Hub:
    """Repositories by name, and a cache: what huggingface_hub has, as far as it is used."""

    def __init__(self, root: Path) -> None:
        self.root, self.asked, self.made = root, list[dict[str, Any]](), list[Any]()

    def snapshot_download(self, repository: str, **options: Any) -> str:
        self.asked.append({"repository": repository} | options)
        cached = self.root / "cache" / repository
        if not cached.is_dir():
            if options["local_files_only"]:
                raise FileNotFoundError("not in the cache\nand more")
            shutil.copytree(self.root / "hub" / repository, cached)
        return str(cached)

    def HfApi(self, token: str | None = None) -> Any:  # noqa: N802 (the package's name)
        self.made.append(token)
        return SimpleNamespace(create_repo=self.create, upload_folder=self.upload, file_exists=self.exists)

    def create(self, repository: str, **options: Any) -> None:
        self.made.append((repository, options))
        (self.root / "hub" / repository).mkdir(parents=True, exist_ok=True)

    def exists(self, repository: str, name: str) -> bool:
        return (self.root / "hub" / repository / name).exists()

    def upload(
        self, *, repo_id: str, folder_path: str, commit_message: str, ignore_patterns: list[str]
    ) -> str:
        if repo_id == "closed/door":
            raise OSError("403\nForbidden")
        if repo_id == "no/network":
            raise Unreachable("refused")
        for path in Path(folder_path).iterdir():
            if path.name not in ignore_patterns:
                shutil.copy(path, self.root / "hub" / repo_id / path.name)
        return f"https://hub.invalid/{repo_id}/{commit_message}"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made, original = Hub(tmp_path), importlib.import_module
    monkeypatch.setattr(
        hub.importlib, "import_module", lambda name: made if name == "huggingface_hub" else original(name)
    )
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Restorer(make("tiny"), device="cpu").save_pretrained(tmp_path / "mine")
    return tmp_path / "mine"


def test_a_model_comes_back_from_a_folder_as_it_was(folder: Path) -> None:
    x = image(16, 24)[0]
    again = Restorer.from_pretrained(folder, device="cpu")
    assert torch.equal(again(x), Restorer(make("tiny"), device="cpu")(x))
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    about = json.loads((folder / "config.json").read_text())
    assert (about["library_name"], about["architecture"]) == ("anyrestore", "cea")
    assert about["config"]["width"] == 8
    # The weights file stands alone, too.
    assert torch.equal(Restorer(folder / "model.safetensors", device="cpu")(x), again(x))
    again.save_pretrained(str(folder), dtype=torch.float16)
    torch.testing.assert_close(Restorer.from_pretrained(folder, device="cpu")(x), again(x), rtol=0, atol=5e-3)


def test_names_and_files_are_taken_too(tmp_path: Path) -> None:
    save_weights(make("tiny"), tmp_path / "w.safetensors")
    assert Restorer.from_pretrained(tmp_path / "w.safetensors", device="cpu", tile=64).tile == 64
    assert Restorer.from_pretrained("cea-t", device="cpu").model.config.stem_scale == 2


def test_a_repository_is_taken_from_the_cache_and_fetched_only_on_request(folder: Path, fake: Hub) -> None:
    shutil.copytree(folder, fake.root / "hub" / "me" / "tiny")
    with pytest.raises(ModelError, match="download=True") as refused:
        Restorer.from_pretrained("me/tiny")
    assert refused.value.code == "no_weights"
    Restorer.from_pretrained("me/tiny", revision="v1", download=True, device="cpu")
    Restorer.from_pretrained("me/tiny", device="cpu")
    assert [(a["local_files_only"], a["revision"]) for a in fake.asked] == [
        (True, None),
        (False, "v1"),
        (True, None),
    ]
    assert all(a["allow_patterns"] == ["config.json", "model.safetensors"] for a in fake.asked)


def test_what_is_pushed_can_be_fetched(fake: Hub) -> None:
    restorer, x = Restorer(make("nafnet-tiny"), device="cpu"), image(16, 16)[0]
    address = restorer.push_to_hub("me/naf", private=True, token="secret", message="first")
    assert address == "https://hub.invalid/me/naf/first"
    assert fake.made == ["secret", ("me/naf", {"private": True, "exist_ok": True})]
    again = Restorer.from_pretrained("me/naf", download=True, device="cpu")
    assert torch.equal(again(x), restorer(x))
    card = fake.root / "hub" / "me" / "naf" / "README.md"
    assert "library_name: anyrestore" in card.read_text()
    card.write_text("my own words")
    restorer.push_to_hub("me/naf")
    assert card.read_text() == "my own words"
    with pytest.raises(ModelError, match=r"did not take closed/door \(403\)") as refused:
        restorer.push_to_hub("closed/door")
    assert refused.value.code == "no_hub"
    with pytest.raises(ModelError, match=r"did not take no/network \(refused\)"):
        restorer.push_to_hub("no/network")


def test_the_package_itself_offline(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub's own cache, in its own layout."""
    package = pytest.importorskip("huggingface_hub")
    cache = tmp_path / "cache"
    original = package.snapshot_download
    monkeypatch.setattr(
        package, "snapshot_download", lambda *names, **options: original(*names, cache_dir=cache, **options)
    )
    with pytest.raises(ModelError) as refused:
        hub.load_pretrained("me/tiny")
    assert refused.value.code == "no_weights"
    stored, commit = cache / "models--me--tiny", "0123456789abcdef0123456789abcdef01234567"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text(commit)
    shutil.copytree(folder, stored / "snapshots" / commit)
    network, x = hub.load_pretrained("me/tiny"), image(16, 16)
    with torch.no_grad():
        assert torch.equal(network(x), make("tiny")(x))


def test_without_the_package_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(hub.importlib, "import_module", missing)
    for attempt in (
        lambda: hub.load_pretrained("me/tiny"),
        lambda: hub.push_to_hub(make("tiny"), "me/tiny"),
    ):
        with pytest.raises(ModelError, match=r'pip install "anyrestore\[hub\]"') as refused:
            attempt()
        assert refused.value.code == "no_hub"


@pytest.mark.parametrize(
    "name",
    ["nonsense", "../a/b", "a/../b", "/a/b", "a/b/c", "https://x/y", "a b/c", "", "n" * 300, "a\0b"],
)
def test_other_names_are_refused_before_anything_is_asked(name: str, fake: Hub) -> None:
    with pytest.raises(ModelError) as refused:
        hub.load_pretrained(name)
    assert refused.value.code == "unknown_model"
    assert fake.asked == []


@pytest.mark.reliability("M3", "M7", "M9")
def test_a_folder_whose_files_do_not_fit_is_refused(folder: Path) -> None:
    config, weights = folder / "config.json", folder / "model.safetensors"
    good, data = json.loads(config.read_text()), weights.read_bytes()

    def refused(word: str, **changed: object) -> None:
        config.write_text(json.dumps(good | changed))
        with pytest.raises(ModelError, match=word) as raised:
            hub.load_pretrained(folder)
        assert raised.value.code == "bad_weights"

    refused("SHA-256 differs", sha256="0" * 64)
    refused("another network", config=good["config"] | {"rank_norm": False})
    refused("another network", architecture="nafnet")
    refused("needs anyrestore >= 9.8.7", format=2, version="9.8.7")
    refused("found something else", library_name="other")
    refused("found something else", sha256=None)
    refused("found something else", format="1")
    for text in ("", "[", "[]", "[" * 100_000, '{"a": 1}', "\udcff"):
        config.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(ModelError, match=r"config\.json"):
            hub.load_pretrained(folder)
    config.write_text(json.dumps(good))
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    refused("SHA-256 differs")
    weights.unlink()
    refused("cannot be read")


def test_what_cannot_be_stored_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot make the folder"):
        hub.save_pretrained(make("tiny"), tmp_path / "file" / "x")
    with pytest.raises(OutputError, match="cannot make the folder"):
        hub.save_pretrained(make("tiny"), tmp_path / "a\0b")
    with pytest.raises(UsageError, match=r"dtype: expected one of .*, got torch\.int8"):
        hub.save_pretrained(make("tiny"), tmp_path, dtype=torch.int8)
    assert list(tmp_path.glob("*.*")) == []
    with pytest.raises(ModelError, match="expected a model of the zoo"):
        Restorer(torch.nn.Identity(), device="cpu").save_pretrained(tmp_path / "x")
    assert not (tmp_path / "x").exists()
