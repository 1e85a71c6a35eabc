import csv
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sartor.errors import DataError, InputError
from sartor.tasks.images._labelled import TEST, TRAIN, UNASSIGNED, VALIDATION, Labelled
from sartor.tasks.images.data import assign, content_ids, load, read
from sartor.tasks.images.options import Options
from sartor.tasks.images.preprocess import Form, load_image, to_pixels

RNG = np.random.default_rng


def noise(seed: int, height: int = 10, width: int = 10, channels: int = 1) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return RNG(seed).integers(0, 256, shape, np.uint8)


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path)
    return path


def class_folders(root: Path, classes: tuple[str, ...] = ("cat", "dog"), n: int = 10, **shape: int) -> Path:
    for c, name in enumerate(classes):
        for i in range(n):
            save(root / name / f"{i}.png", noise(1000 * c + i, **shape))
    return root


def idx(path: Path, array: np.ndarray, *, zipped: bool = False) -> None:
    data = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if zipped else data)


def parts(source: Path | str, **options: object):
    return load(str(source), Options(**options))


# --- folders


def test_a_folder_for_each_class_is_split_by_class(tmp_path: Path) -> None:
    got = parts(class_folders(tmp_path, n=20))
    labelled = got.labelled
    assert labelled.classes == ("cat", "dog") and labelled.pixels.shape == (40, 1, 10, 10)
    for part, count in ((TRAIN, 14), (VALIDATION, 3), (TEST, 3)):
        assert np.bincount(labelled.labels[labelled.parts == part]).tolist() == [count, count]
    assert np.array_equal(labelled.pixels[0, 0], noise(0))


def test_every_kind_of_picture_is_read(tmp_path: Path) -> None:
    class_folders(tmp_path, n=6, channels=3)
    save(tmp_path / "cat" / "a.jpg", noise(70, 30, 20, 3))
    save(tmp_path / "cat" / "b.png", noise(71, 12, 12, 3), "RGBA")
    save(tmp_path / "dog" / "c.png", noise(72, 9, 14, 3), "P")
    save(tmp_path / "dog" / "d.bmp", noise(73), "L")
    save(tmp_path / "dog" / "e.png", RNG(74).integers(0, 4096, (10, 10)).astype(np.uint16))
    save(tmp_path / "dog" / "sub" / "f.png", noise(75), "1")
    labelled = read(str(tmp_path), Options())
    assert labelled.pixels.shape == (18, 3, 10, 10)
    assert labelled.form.deep_max == 4095
    assert not labelled.notes


def test_colour_pictures_without_colour_become_one_channel(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for i in range(4):
            save(tmp_path / name / f"{i}.png", np.repeat(noise(hash((name, i)) % 99)[..., None], 3, 2))
    assert read(str(tmp_path), Options()).pixels.shape[1] == 1
    assert read(str(tmp_path), Options(channels=3)).pixels.shape[1] == 3


@pytest.mark.parametrize("top", ["", "photos"])
def test_part_folders_are_honoured(tmp_path: Path, top: str) -> None:
    root = tmp_path / top
    for part, seed in (("train", 0), ("Val", 500), ("test", 700)):
        for c, name in enumerate(("a", "b")):
            for i in range(5):
                save(root / part / name / f"{i}.png", noise(seed + 10 * c + i))
    labelled = parts(tmp_path).labelled
    assert np.bincount(labelled.parts).tolist() == [10, 10, 10]


def test_an_unlabelled_test_folder_is_told_and_replaced(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    save(tmp_path / "test" / "1.png", noise(5))
    got = parts(tmp_path)
    assert "no labels" in got.notes[0] and (got.labelled.parts == TEST).sum() == 4


# --- arrays


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_with_their_own_test_part(tmp_path: Path, zipped: bool) -> None:
    end = ".gz" if zipped else ""
    for name, n, seed in (("train", 40, 0), ("t10k", 10, 1)):
        images = RNG(seed).integers(0, 256, (n, 9, 9), np.uint8)
        idx(tmp_path / f"{name}-images-idx3-ubyte{end}", images, zipped=zipped)
        idx(tmp_path / f"{name}-labels-idx1-ubyte{end}", (np.arange(n) % 2).astype(np.uint8), zipped=zipped)
    labelled = parts(tmp_path).labelled
    assert np.bincount(labelled.parts).tolist() == [34, 6, 10] and labelled.classes == ("0", "1")
    assert np.array_equal(labelled.pixels[labelled.parts != TEST, 0], RNG(0).integers(0, 256, (40, 9, 9), np.uint8))
    (tmp_path / f"t10k-labels-idx1-ubyte{end}").unlink()
    with pytest.raises(DataError, match="has no labels: expected t10k-labels"):
        parts(tmp_path)


def test_truncated_idx_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    idx(path, np.zeros((4, 3, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="copy it again"):
        parts(path)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((30, 8, 8), (30, 1, 8, 8)), ((30, 8, 6, 3), (30, 3, 8, 6)), ((30, 3, 8, 6), (30, 3, 8, 6))],
)
def test_npz_layouts(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    np.savez(tmp_path / "d.npz", images=RNG(0).integers(0, 256, shape, np.uint8), labels=np.arange(30) % 3)
    assert read(str(tmp_path / "d.npz"), Options()).pixels.shape == expected


def test_npz_parts_floats_text_and_one_hot_labels(tmp_path: Path) -> None:
    x = RNG(0).random((30, 8, 8))
    text = np.array(["b", "a", "c"])[np.arange(30) % 3]
    np.savez(tmp_path / "t.npz", x_train=x, y_train=text, x_test=RNG(1).random((9, 8, 8)), y_test=text[:9])
    labelled = parts(tmp_path / "t.npz").labelled
    assert labelled.classes == ("a", "b", "c") and (labelled.parts == TEST).sum() == 9
    assert np.array_equal(labelled.pixels[:30, 0], np.rint(x * 255))
    np.savez(tmp_path / "o.npz", X=x, Y=np.eye(3)[np.arange(30) % 3], classes=np.array(["p", "q", "r"]))
    assert read(str(tmp_path / "o.npz"), Options()).classes == ("p", "q", "r")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((4, 8, 8)), "z": np.zeros(4)}, "expected arrays x and y.*got x, z"),
        ({"x": np.zeros((4, 8, 8)), "y": np.zeros(3, int)}, "4 images but 3 labels"),
        ({"x": np.zeros((4, 64)), "y": np.zeros(4, int)}, "reshape the rows to images"),
        ({"x": -np.ones((4, 8, 8)), "y": np.zeros(4, int)}, "undo the standardisation"),
        ({"x": np.full((4, 8, 8), np.nan), "y": np.zeros(4, int)}, "finite"),
        ({"x": np.zeros((4, 8, 8)), "y": np.full(4, np.nan)}, "whole numbers or text"),
        ({"x": np.zeros((4, 8, 8)), "y": np.array(["a", "", "b", "a"])}, "1 labels are empty"),
        ({"x": np.zeros((4, 8, 8)), "y": np.zeros(4, int)}, "at least two classes"),
        ({"x": np.array([np.zeros(2), np.zeros(3)], object), "y": np.zeros(2, int)}, "ragged"),
    ],
)
def test_bad_npz_files_are_told(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError, match=message):
        parts(tmp_path / "d.npz")


def test_fashion_mnist_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sartor.tasks.images.data.DATA_FOLDERS", ())
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
        parts("fashion-mnist")
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    idx(folder / "train-images-idx3-ubyte", RNG(0).integers(0, 256, (60, 8, 8), np.uint8))
    idx(folder / "train-labels-idx1-ubyte", (np.arange(60) % 10).astype(np.uint8))
    monkeypatch.setenv("SARTOR_DATA", str(tmp_path))
    assert parts("fashion-mnist").labelled.classes[9] == "Ankle boot"


# --- manifests


def manifest(root: Path, rows: list[list[str]], header: list[str], name: str = "m.csv") -> Path:
    with open(root / name, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return root / name


def test_manifests_with_and_without_a_split(tmp_path: Path) -> None:
    class_folders(tmp_path, n=8)
    rows = [[f"{c}/{i}.png", c, "test" if i < 2 else "train"] for c in ("cat", "dog") for i in range(8)]
    labelled = parts(manifest(tmp_path, rows, ["path", "label", "split"])).labelled
    assert (labelled.parts == TEST).sum() == 4 and (labelled.parts == VALIDATION).sum() == 2
    plain = read(str(manifest(tmp_path, [row[:2] for row in rows], ["File", "Class"])), Options())
    assert (plain.parts == UNASSIGNED).all() and plain.classes == ("cat", "dog")


def test_a_parquet_manifest(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    class_folders(tmp_path, n=4)
    rows = [(f"{c}/{i}.png", label) for label, c in enumerate(("cat", "dog")) for i in range(4)]
    table = pyarrow.table({"path": [r[0] for r in rows], "label": [r[1] for r in rows]})
    parquet.write_table(table, tmp_path / "m.parquet")
    assert parts(tmp_path / "m.parquet").labelled.classes == ("0", "1")


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (["picture", "label"], ["cat/0.png", "cat"], "expected a header with the columns path, label"),
        (["path", "label"], ["cat/0.png", ""], "lack a path or a label"),
        (["path", "label", "split"], ["cat/0.png", "cat", "tset"], "did you mean 'test'"),
    ],
)
def test_bad_manifests_are_told(tmp_path: Path, header: list[str], row: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        parts(manifest(tmp_path, [row], header))


# --- what is wrong with a source


def test_bad_sources_are_told(tmp_path: Path) -> None:
    class_folders(tmp_path / "photos", ("cat",))
    with pytest.raises(DataError, match="did you mean 'photos'"):
        parts(tmp_path / "photo")
    with pytest.raises(DataError, match="did you mean 'fashion-mnist'"):
        parts("fashion-mnst")
    with pytest.raises(DataError, match="at least two classes, got 1 \\('cat'\\)"):
        parts(tmp_path / "photos")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        parts(tmp_path / "empty")
    save(tmp_path / "flat" / "a.png", noise(0))
    with pytest.raises(DataError, match="labels are missing"):
        parts(tmp_path / "flat")
    (tmp_path / "notes.docx").write_text("x")
    with pytest.raises(DataError, match="of no kind that is read"):
        parts(tmp_path / "notes.docx")


def test_few_broken_images_are_counted_and_many_are_an_error(tmp_path: Path) -> None:
    class_folders(tmp_path)
    (tmp_path / "cat" / "0.png").write_bytes(b"not an image")
    got = parts(tmp_path)
    assert len(got.labelled.labels) == 19
    assert "1 of 20 images are left out" in got.notes[0] and "0.png: no image format" in got.notes[0]
    for i in range(1, 4):
        whole = (tmp_path / "cat" / f"{i}.png").read_bytes()
        (tmp_path / "cat" / f"{i}.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="4 of 20 images cannot be read.*and 1 more"):
        parts(tmp_path)


def test_a_class_of_one_image_is_named_or_left_out(tmp_path: Path) -> None:
    class_folders(tmp_path)
    save(tmp_path / "yak" / "0.png", noise(9999))
    with pytest.raises(DataError, match="'yak' \\(1\\).*leave_out_rare"):
        parts(tmp_path)
    got = parts(tmp_path, leave_out_rare=True)
    assert got.labelled.classes == ("cat", "dog") and "1 classes are left out" in got.notes[0]


# --- parts


def labelled(n: int, given: np.ndarray | None = None, seed: int = 0) -> Labelled:
    pixels = RNG(seed).integers(0, 256, (n, 1, 4, 4), np.uint8)
    given = np.full(n, UNASSIGNED) if given is None else given
    return Labelled(pixels, np.arange(n) % 2, given.astype(np.int8), ("a", "b"), Form(4, 4, 1))


def test_copies_are_drawn_into_one_part() -> None:
    data = labelled(60)
    data.pixels[30:] = data.pixels[:30]
    got = assign(data, Options())
    assert np.array_equal(got.labelled.parts[:30], got.labelled.parts[30:])
    assert "30 images are exact copies" in got.notes[0]


def test_copies_in_two_given_parts_are_left_to_the_later_one() -> None:
    data = labelled(60, np.repeat([TRAIN, TEST], [40, 20]))
    data.pixels[:5] = data.pixels[40:45]
    got = assign(data, Options())
    assert len(got.ids) == 55 and (got.labelled.parts == TEST).sum() == 20
    assert "5 are left out of training or validation" in got.notes[0]
    sets = [set(got.ids[got.labelled.parts == part]) for part in (TRAIN, VALIDATION, TEST)]
    assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])


def test_parts_follow_the_seed_and_the_content() -> None:
    one, again, other = assign(labelled(60), Options()), assign(labelled(60), Options()), assign(
        labelled(60), Options(split_seed=1)
    )
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert one.fingerprint != assign(labelled(60, seed=1), Options()).fingerprint
    assert not np.array_equal(one.labelled.parts, other.labelled.parts)


def test_imbalance_and_conflicting_labels_are_notes() -> None:
    data = labelled(120)
    data.labels[:] = np.arange(120) < 6
    data.pixels[119] = data.pixels[0]
    notes = " ".join(assign(data, Options()).notes)
    assert "unbalanced: 'a' has" in notes and "1 images are given with several labels" in notes


def test_no_test_part_when_its_share_is_zero() -> None:
    assert not (assign(labelled(20), Options(test=0.0)).labelled.parts == TEST).any()


def test_ids_tell_copies_alone() -> None:
    data = labelled(50)
    data.pixels[7] = data.pixels[3]
    ids = content_ids(data.pixels)
    assert ids[7] == ids[3] and len(set(ids.tolist())) == 49 and (ids >= 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 2}, "4 to 1024"),
        ({"channels": 2}, "1 \\(grey\\) or 3"),
        ({"validation": 0.6, "test": 0.5}, "a tenth for training"),
        ({"fit": "padd"}, "did you mean 'pad'"),
        ({"space": "mbconf"}, "did you mean 'mbconv'"),
        ({"split_seed": -1}, "0 or more"),
    ],
)
def test_bad_options_are_told(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Options(**options)  # type: ignore[arg-type]


# --- preparation


def test_an_image_file_becomes_the_pixels_that_training_saw(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data", n=6, channels=3, height=30, width=20)
    save(root / "cat" / "x.jpg", noise(50, 200, 300, 3))
    save(root / "cat" / "y.png", noise(51, 40, 40, 4))
    data = read(str(root), Options(size=16))
    files = sorted((root / "cat").iterdir()) + sorted((root / "dog").iterdir())
    for file, pixels in zip(files, data.pixels, strict=True):
        found = load_image(file, {"input": data.form.describe()})
        assert found.shape == (1, 3, 16, 16) and found.dtype == np.float32
        assert np.array_equal(np.rint(found[0] * 255).astype(np.uint8), pixels), file


def test_transparency_is_laid_over_white() -> None:
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert (to_pixels(clear, Form(4, 4, 3)) == 255).all()


def test_other_aspects_are_padded_cropped_or_stretched() -> None:
    wide = Image.fromarray(np.full((4, 8), 200, np.uint8))
    padded = to_pixels(wide, Form(8, 8, 1))[0]
    assert (padded[2:6] == 200).all() and not padded[:2].any() and not padded[6:].any()
    for fit in ("crop", "stretch"):
        assert (to_pixels(wide, Form(8, 8, 1, fit)) == 200).all()


def test_an_exif_turned_photo_is_turned(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(to_pixels(image, Form(8, 8, 1))[0], np.rot90(pixels, -1))


def test_images_that_cannot_be_labelled_are_told(tmp_path: Path) -> None:
    description = {"input": Form(8, 8, 1).describe()}
    save(tmp_path / "one.png", noise(0))
    with pytest.raises(DataError, match="did you mean 'one.png'"):
        load_image(tmp_path / "on.png", description)
    (tmp_path / "two.png").write_bytes(b"x")
    with pytest.raises(DataError, match="not a readable image"):
        load_image(tmp_path / "two.png", description)
    with pytest.raises(DataError, match="exported by the images task"):
        load_image(tmp_path / "one.png", {})
