"""A kept bundle is used again only while the code that would make it does the same."""

from pathlib import Path

import pytest

from benchmarks import recipe
from benchmarks.material import is_kept


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(recipe, "ROOT", tmp_path)
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "__init__.py").write_text("")
    (tmp_path / "trainer" / "top.py").write_text("from trainer import low\nimport json\n\nX = low.Y\n")
    (tmp_path / "trainer" / "low.py").write_text('"""Says."""\nY = 1\n')
    (tmp_path / "trainer" / "other.py").write_text("Z = 1\n")
    return tmp_path


def test_a_change_of_what_is_imported_is_a_change(project):
    before = recipe.digest(["trainer.top"])
    (project / "trainer" / "low.py").write_text('"""Says."""\nY = 2\n')
    assert recipe.digest(["trainer.top"]) != before


def test_imports_inside_of_functions_are_followed(project):
    (project / "trainer" / "low.py").write_text("def f():\n    from trainer.other import Z\n    return Z\nY = 1\n")
    before = recipe.digest(["trainer.top"])
    (project / "trainer" / "other.py").write_text("Z = 2\n")
    assert recipe.digest(["trainer.top"]) != before


def test_comments_docstrings_layout_and_modules_not_imported_change_nothing(project):
    before = recipe.digest(["trainer.top"])
    (project / "trainer" / "low.py").write_text('"""Says more."""\n\n# Why.\nY = (\n    1\n)\n')
    (project / "trainer" / "other.py").write_text("Z = 2\n")
    assert recipe.digest(["trainer.top"]) == before


def test_data_files_count_as_they_are(project):
    data = project / "defaults.toml"
    data.write_text("a = 1\n")
    before = recipe.digest(["trainer.top"], data)
    data.write_text("a = 2\n")
    assert recipe.digest(["trainer.top"], data) != before


def test_a_module_that_is_none_is_named(project):
    with pytest.raises(ModuleNotFoundError, match=r"got trainer\.nothing"):
        recipe.digest(["trainer.nothing"])


def test_a_shelf_of_other_code_or_of_unknown_code_is_not_kept(tmp_path, bundle_shelf):
    home = tmp_path / "home"
    home.mkdir()
    (home / "shelf").symlink_to(bundle_shelf)
    assert not is_kept(home, "this code")
    (home / "made_by").write_text("this code")
    assert is_kept(home, "this code")
    assert not is_kept(home, "other code")


def test_a_shelf_that_cannot_be_loaded_is_not_kept(tmp_path):
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "active").write_text("nothing")
    (tmp_path / "made_by").write_text("this code")
    assert not is_kept(tmp_path, "this code")
