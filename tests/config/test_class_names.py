import pytest

from atrous.config.class_names import class_names
from atrous.config.compose import compose_groups
from atrous.config.jobs import compose_run
from atrous.errors import ConfigError

FOLDER = ["data=folder", "data.images=a", "data.masks=b"]


def composed(*overrides):
    return compose_groups([*FOLDER, *overrides], required=["data"])["data"]


def test_a_list_and_a_file_of_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_bytes("\ufeffroad\r\n\r\n grünes Feld \r\n7\r\n".encode())
    for given, names in {"[road,sky]": ["road", "sky"], "names.txt": ["road", "grünes Feld", "7"]}.items():
        data = composed(f"data.class_names={given}")
        assert (data["class_names"], data["num_classes"]) == (names, len(names))
        config, _ = compose_run([*FOLDER, f"data.class_names={given}"])
        assert config["data"]["class_names"] == names  # in config.yaml, so that the file may go
        assert config["model"]["num_classes"] == len(names)


@pytest.mark.parametrize("given", ["road", "3", "[]", "null", "[a,null]", "{a: b}"])
def test_what_names_no_classes_is_refused(given):
    for ask in (composed, lambda *words: compose_run([*FOLDER, *words])):
        with pytest.raises(ConfigError, match=r"data\.class_names.*\[background,cell\].*FILE"):
            ask(f"data.class_names={given}")


def test_left_out_it_is_named_and_no_interpolation():
    with pytest.raises(ConfigError, match=r"no value for data\.class_names\. .*data\.class_names=\.\.\."):
        composed()
    with pytest.raises(ConfigError, match=r"no value for data\.class_names;"):
        compose_groups(FOLDER)
    assert compose_groups([*FOLDER, "data.num_classes=3"])["model"]["num_classes"] == 3  # to profile a network


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "names").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"names is no text file in UTF-8.*Save it"):
        class_names(str(tmp_path / "names"))


@pytest.mark.parametrize(
    "word",
    [
        "mask_threshold=high",
        "nearest_value=3",
        "val_fraction=20",
        "folds=2.5",
        "group=3",
        "unannotated=[1]",
        "mask_name=7",
    ],
)
def test_settings_of_another_type_are_refused_before_files_are_looked_for(word):
    with pytest.raises(ConfigError, match=rf"data\.{word.partition('=')[0]}=.*; give"):
        composed("data.class_names=[a,b]", f"data.{word}")
