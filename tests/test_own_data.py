"""A person's own files: what is read from them, what is refused, and the command."""

import re
import subprocess
import sys

import numpy as np
import pytest

from kdlib import advise
from kdlib.advise.__main__ import main
from kdlib.own_data import LEAST_PROBABILITY, digits, read


def table(folder, text, name="mine.csv"):
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def arrays(folder, name="mine.npz", **values):
    np.savez(folder / name, **values)
    return folder / name


def example(n=60, K=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)) * [1, 20, 0.1] + [0, 300, 0]
    z = (x - [0, 300, 0]) / [1, 20, 0.1] @ rng.normal(size=(3, K))
    return x, z, (z + rng.normal(size=(n, K))).argmax(1)


def as_table(x, z, y, names, head):
    rows = (",".join([*map(repr, map(float, [*a, *b])), names[c]]) for a, b, c in zip(x, z, y, strict=True))
    return "\n".join([head, *rows])


def test_arrays_are_taken_as_they_are(tmp_path):
    x, z, y = example()
    own = read(arrays(tmp_path, x=x, z_t=z, y_g=y))
    assert (own.x == x).all() and (own.z_t == z).all() and (own.y_g == y).all() and not own.notes
    own = read(arrays(tmp_path, images=x.reshape(-1, 3, 1), soft=z[:, 0], kind=y % 2), inputs="images", teacher="soft",
               labels="kind")  # fmt: skip
    assert own.x.shape == (60, 3) and own.z_t.shape == (60,) and own.classes == ("0", "1")


def test_a_table_tells_the_same_as_arrays(tmp_path):
    x, z, y = example()
    names = "ape", "bee", "cat"
    of_table = read(table(tmp_path, as_table(x, z, y, names, "a,b,c,z_t_ape,z_t_bee,z_t_cat,y_g")))
    of_arrays = read(arrays(tmp_path, x=x, z_t=z, y_g=np.array(names)[y]))
    for name in ("x", "z_t", "y_g"):
        assert (getattr(of_table, name) == getattr(of_arrays, name)).all()
    assert of_table.classes == of_arrays.classes == names and "sorted" in of_arrays.notes[0] and not of_table.notes


def test_a_parquet_file_tells_the_same_as_a_table(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    x, z, y = example()
    names = np.array(["ape", "bee", "cat"])[y]
    columns = dict(zip(["a", "b", "c", "z_t_ape", "z_t_bee", "z_t_cat"], [*x.T, *z.T], strict=True))
    write = lambda name, **more: parquet.write_table(pyarrow.table(columns | more), tmp_path / name)
    write("mine.parquet", y_g=names)
    own, of_arrays = read(tmp_path / "mine.parquet"), read(arrays(tmp_path, x=x, z_t=z, y_g=names))
    for name in ("x", "z_t", "y_g"):
        assert (getattr(own, name) == getattr(of_arrays, name)).all()
    write("two.parquet", z_t=z[:, 0], z_t_ape=z[:, 1], y_g=y == 1)
    assert (read(tmp_path / "two.parquet", teacher=["z_t"], inputs=["a", "b"]).y_g == (y == 1)).all()
    write("gap.parquet", y_g=[None, *names[1:]])
    refuses("labels in gap.parquet must be there for each sample, got '' in sample 0", tmp_path / "gap.parquet")
    write("hole.parquet", y_g=names, c=pyarrow.array([*x[:-1, 2], None]))
    refuses("column c of hole.parquet must hold finite numbers, got '' in sample 59", tmp_path / "hole.parquet")
    refuses("bad.parquet must be a sound Parquet file", table(tmp_path, "a,z_t,y_g\n1,2,0", "bad.parquet"))


def test_without_pyarrow_a_parquet_file_is_refused_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refuses("mine.parquet must be read by pyarrow, which is not installed: pip install pyarrow, or save it as CSV",
            table(tmp_path, "", "mine.parquet"))


def test_columns_that_end_in_labels_say_which_class_they_are_of(tmp_path):
    x, z, y = example()
    own = read(table(tmp_path, as_table(x, z, y, ("cat", "ape", "bee"), "a,b,c,p-cat,p-ape,p-bee,kind")), teacher="p-",
               labels="kind")  # fmt: skip
    assert own.classes == ("cat", "ape", "bee") and (own.y_g == y).all()
    own = read(table(tmp_path, as_table(x, z, y, "102", "a,b,c,z_t_1,z_t_0,z_t_2,y_g")))
    assert own.classes == ("1", "0", "2") and (own.y_g == y).all()


def test_columns_may_be_chosen_by_what_they_begin_with_or_by_name(tmp_path):
    path = table(tmp_path, "f1,f2,note,z_t,y_g\n1,2,hello,0.5,yes\n3,4,,-5,no")
    for inputs in ("f", ["f1", "f2"]):
        own = read(path, inputs=inputs)
        assert own.x.tolist() == [[1, 2], [3, 4]] and own.y_g.tolist() == [1, 0] and own.classes == ("no", "yes")


def test_probabilities_become_logits(tmp_path):
    x, z, y = example()
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    own = read(arrays(tmp_path, x=x, z_t=p, y_g=y))
    centred = lambda z: z - z.mean(1, keepdims=True)
    assert np.allclose(centred(own.z_t), centred(z)) and "taken for probabilities" in own.notes[-1]
    one = read(arrays(tmp_path, x=x, z_t=p[:, 1], y_g=y == 1), probabilities=True)
    assert np.allclose(one.z_t, np.log(p[:, 1] / (1 - p[:, 1]))) and one.classes == ("0", "1")
    sure = read(arrays(tmp_path, x=x, z_t=np.eye(3)[y], y_g=y))
    assert sure.z_t.min() == np.log(LEAST_PROBABILITY) and "in 60 samples" in sure.notes[0]
    assert (read(arrays(tmp_path, x=x, z_t=p, y_g=y), probabilities=False).z_t == p).all()


def test_labels_of_any_two_numbers_are_two_classes(tmp_path):
    x, z, y = example()
    own = read(arrays(tmp_path, x=x, z_t=z[:, 0] * 9, y_g=2.0 * (y > 0) - 1))
    assert own.classes == ("-1", "1") and (own.y_g == (y > 0)).all()
    assert read(arrays(tmp_path, x=x, z_t=z, y_g=y + 1)).y_g.tolist() == y.tolist()


def test_a_second_file_has_the_classes_and_the_scale_of_the_first(tmp_path):
    x, z, y = example()
    own = read(arrays(tmp_path, x=np.c_[x, np.ones(60)], z_t=z, y_g=np.array(["b", "a", "c"])[y]))
    kept = y > 0
    other = read(arrays(tmp_path, x=np.c_[x, np.ones(60)][kept], z_t=z[kept], y_g=np.array(["b", "a", "c"])[y][kept]),
                 like=own)  # fmt: skip
    assert other.y_g.tolist() == own.y_g[kept].tolist()
    assert np.allclose(other.standardised(like=own).x, own.standardised().x[kept])
    scaled = own.standardised().x
    assert scaled.shape == (60, 3) and np.allclose(scaled.mean(0), 0) and np.allclose(scaled.std(0), 1)


def test_a_second_file_is_read_by_the_names_of_the_first(tmp_path):
    """Its columns may stand in another order."""
    x, z, y = example()
    names = np.array(["dog", "ape", "cat"])
    own = read(table(tmp_path, as_table(x, z, y, names, "a,b,c,z_t_dog,z_t_ape,z_t_cat,y_g")))
    moved, order = x[:, [2, 0, 1]], [1, 2, 0]
    path = table(tmp_path, as_table(moved, z[:, order], y, names, "c,a,b,z_t_ape,z_t_cat,z_t_dog,y_g"), "more.csv")
    other = read(path, like=own)
    for field in ("x", "z_t", "y_g"):
        assert (getattr(other, field) == getattr(own, field)).all()
    assert other.columns == own.columns == ("a", "b", "c") and other.classes == own.classes == tuple(names)
    pair = read(table(tmp_path, "a,z_t_no,z_t_yes,y_g\n1,2,-3,no\n4,-5,6,yes"))
    turned = table(tmp_path, "a,z_t_yes,z_t_no,y_g\n1,-3,2,no\n4,6,-5,yes", "turned.csv")
    assert read(turned, like=pair).z_t.tolist() == pair.z_t.tolist() == [-5, 11]


def test_a_second_file_with_other_columns_is_refused(tmp_path):
    own = read(table(tmp_path, "a,b,z_t_no,z_t_yes,y_g\n1,2,3,4,no\n2,1,4,3,yes"))
    others = {"b": "a,d,z_t_no,z_t_yes", "z_t_sure": "a,b,z_t_no,z_t_sure", "c": "a,b,c,z_t_no,z_t_yes"}
    for differs, head in others.items():
        path = table(tmp_path, f"{head},y_g\n" + ",".join("12345"[: head.count(",") + 1]) + ",no", "more.csv")
        refuses(f"more.csv must be the columns of the first file, got '{differs}' in one of them alone", path, like=own)
    few = read(arrays(tmp_path, x=np.ones((4, 3)), z_t=np.arange(4) - 9, y_g=np.arange(4) % 2))
    with pytest.raises(ValueError, match="x must have the 2 columns of the first data, got 3"):
        few.standardised(like=own)


def test_an_index_and_columns_of_words_are_left_out_with_a_note(tmp_path):
    plain = "a,z_t,y_g\n1,2,0\n3,-4,1"
    for first, count in {"": (0, 1), "Unnamed: 0": (0, 1), "id": ("p", "")}.items():
        note = f"{'“id” holds no numbers' if first == 'id' else 'Column 1 has no name'}, and was left out."
        lines = [f"{head},{line}" for head, line in zip((first, *count), plain.split("\n"), strict=True)]
        own = read(table(tmp_path, "\n".join(lines)))
        assert own.x.tolist() == [[1], [3]] and own.columns == ("a",) and own.notes == (note,)
    refuses("column id of mine.csv must hold finite numbers", tmp_path / "mine.csv", inputs=["id", "a"])
    refuses("column b of mine.csv must hold finite numbers, got ''", table(tmp_path, "a,b,z_t,y_g\n1,,2,0\n1,,-4,1"))


def test_semicolons_and_tabs_separate_too(tmp_path):
    plain = "a,b,z_t,y_g\n1,2,3,0\n4,5,-6,1\n"
    for separator in ",;\t":
        text = plain.replace(",", separator) + f"{3 * separator}\n"
        own = read(table(tmp_path, text.replace("\n", "\r\n")))
        assert own.x.tolist() == [[1, 2], [4, 5]] and own.z_t.tolist() == [3, -6]
    refuses("mine.csv must have several columns, got one, 'a b': separate by commas", table(tmp_path, "a b\n1 2"))


def test_labels_that_are_missing_are_refused(tmp_path):
    x, z, y = example()
    for gap in ("", "NA", "nan", "N/A", "None", " "):
        refuses("labels in mine.csv must be there for each sample, got '" + gap.strip() + "' in row 3",
                table(tmp_path, f"a,z_t,y_g\n1,2,yes\n3,4,{gap}\n5,-6,no"))
        words = np.where(np.arange(60) == 41, gap, np.array(["a", "b", "c"])[y])
        refuses(f"got {gap!r} in sample 41 (counted from 0)", arrays(tmp_path, x=x, z_t=z, y_g=words))
    for gap in (np.nan, np.inf):
        refuses(f"got '{gap}' in sample 7 (counted from 0)", arrays(
            tmp_path, x=x, z_t=z, y_g=np.where(np.arange(60) == 7, gap, y)))


def test_labels_that_the_columns_of_the_teacher_do_not_name_are_refused(tmp_path):
    """They would be sorted against these."""
    text = "a,z_t_dog,z_t_cat,z_t_bird,y_g\n1,2,3,4,{}\n2,1,4,3,{}\n1,1,2,5,{}"
    refuses("labels in mine.csv must be among dog, cat, bird, as the teacher's columns are named, got Bird, Cat, Dog: ",
            table(tmp_path, text.format("Dog", "Cat", "Bird")))
    assert read(table(tmp_path, text.format(0, 2, 1))).y_g.tolist() == [0, 2, 1]


def test_labels_without_a_0_may_count_from_1_and_are_refused(tmp_path):
    x, z, y = example()
    path = arrays(tmp_path, x=x, z_t=z, y_g=1 + y % 2)
    refuses("labels in mine.npz must count from 0, got 1, 2 of 3 classes: subtract 1", path)
    own = read(table(tmp_path, as_table(x, z, 1 + y % 2, "012", "a,b,c,z_t_0,z_t_1,z_t_2,y_g")))
    assert own.y_g.tolist() == (1 + y % 2).tolist()
    assert read(path, like=own).y_g.tolist() == own.y_g.tolist()


def test_rounded_probabilities_are_asked_about(tmp_path):
    x, z, y = example()
    p = (np.exp(z) / np.exp(z).sum(1, keepdims=True)).round(2)
    assert np.abs(p.sum(1) - 1).max() > 0.005
    path = arrays(tmp_path, x=x, z_t=p, y_g=y)
    refuses("probabilities must be said where all answers in mine.npz lie in [0, 1] and not all rows add up to 1", path)
    assert "taken for probabilities" in read(path, probabilities=True).notes[-1]
    assert (read(path, probabilities=False).z_t == p).all()


def test_too_many_samples_are_drawn_from_with_a_note(tmp_path):
    own = read(arrays(tmp_path, **dict(zip(("x", "z_t", "y_g"), example(), strict=True))))
    few = own.some(20)
    assert len(few.x) == len(few.y_g) == 20 and few.notes == ("20 of the 60 samples were taken, at random.",)
    assert own.some(60) is own and (few.x == own.some(20).x).all()


def test_digits_have_a_teacher_that_has_not_seen_them():
    own = digits(300)
    assert 0.8 < (own.z_t.argmax(1) == own.y_g).mean() < 0.97


def refuses(message, path, **options):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read(path, **options)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_used_are_refused_in_one_line(tmp_path):
    x, z, y = example()
    for name in ("mine", "mine.xlsx"):
        refuses("data must be an .npz, .csv or .parquet file, got ", tmp_path / name)
    refuses("data must be a file that is there", tmp_path / "none.csv")
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    refuses("broken.npz must be a sound .npz file", tmp_path / "broken.npz")
    np.savez(tmp_path / "pickled.npz", x=np.array([{}, 1], dtype=object))
    refuses("pickled.npz must be a sound .npz file without pickled objects", tmp_path / "pickled.npz")
    (tmp_path / "broken.csv").write_bytes(b"\xff\xfe\x00")
    refuses("broken.csv must be a table of text in UTF-8", tmp_path / "broken.csv")
    refuses("mine.csv must be a table of text", table(tmp_path, ""))
    np.save(tmp_path / "one.npy", x)
    refuses("one.npz must be a sound .npz file", (tmp_path / "one.npy").rename(tmp_path / "one.npz"))
    np.savez_compressed(tmp_path / "damaged.npz", x=x, z_t=z, y_g=y)
    content = (tmp_path / "damaged.npz").read_bytes()
    (tmp_path / "damaged.npz").write_bytes(content[:200] + bytes(200) + content[400:])
    refuses("damaged.npz must be a sound .npz file", tmp_path / "damaged.npz")
    (tmp_path / "packed.npz").write_bytes(content.replace(b"\x08\x00\x00\x00\x21", b"\x61\x00\x00\x00\x21"))
    refuses("packed.npz must be a sound .npz file", tmp_path / "packed.npz")
    refuses("mine.npz must have one row of inputs, teacher's answers and labels for each sample, got shapes (60, 3), "
            "(60, 3) and ()", arrays(tmp_path, x=x, z_t=z, y_g=np.array(1)))
    refuses("got shapes (0, 3), (0, 3) and (0,)", arrays(tmp_path, x=x[:0], z_t=z[:0], y_g=y[:0]))
    refuses("got shapes (60, 0), (60, 3) and (60,)", arrays(tmp_path, x=x[:, :0], z_t=z, y_g=y))
    latin = np.array(["é".encode("latin-1"), b"a", b"b"])[y]
    refuses("labels in mine.npz must be text in UTF-8, got other bytes", arrays(tmp_path, x=x, z_t=z, y_g=latin))
    refuses("teacher must name an array of mine.npz, got 'z_t': it has x, z, y_g, pass teacher=... (--teacher)",
            arrays(tmp_path, x=x, z=z, y_g=y))
    refuses("inputs must be finite numbers", arrays(tmp_path, x=np.where(x > 300, np.nan, x), z_t=z, y_g=y))
    refuses("mine.npz must have one row of inputs", arrays(tmp_path, x=x, z_t=z[:-1], y_g=y))
    refuses("labels in mine.npz must be of 3 classes", arrays(tmp_path, x=x, z_t=z, y_g=np.array([*"abcd"] * 15)))
    refuses("labels in mine.npz must be of 2 classes", arrays(tmp_path, x=x, z_t=5 * z[:, 0], y_g=y))


def test_what_is_not_asked_for_does_not_matter(tmp_path):
    x, z, y = example()
    bytes_ = np.array(["é".encode(), b"a"])[y % 2]
    own = read(arrays(tmp_path, x=x, z_t=z[:, :1], y_g=bytes_[:, None], more=np.array([{}, 1])))
    assert own.z_t.shape == own.y_g.shape == (60,) and own.classes == ("a", "é")


def test_tables_that_cannot_be_used_are_refused_in_one_line(tmp_path):
    refuses("got another number in row 3", table(tmp_path, "a,z_t,y_g\n1,2,0\n1,2"))
    refuses("got a name twice", table(tmp_path, "a,a,z_t,y_g\n1,2,3,0"))
    numbers = "of mine.csv must hold finite numbers"
    refuses(f"column a {numbers}, got 'x' in row 3", table(tmp_path, "a,z_t,y_g\n1,2,0\nx,2,1"))
    refuses(f"column z_t {numbers}, got '' in row 2", table(tmp_path, "a,z_t,y_g\n1,,0\n1,2,1"))
    refuses(f"column z_t {numbers}, got 'inf' in row 3", table(tmp_path, "a,z_t,y_g\n1,2,0\n1,inf,1"))
    refuses("labels must name columns of mine.csv, got 'y_g': it has a, z_t, y, pass labels=... (--labels)",
            table(tmp_path, "a,z_t,y\n1,2,0"))
    wide = [*(f"pixel_{i}" for i in range(64)), "z_t", "kind"]
    refuses("it has pixel_0, pixel_1, pixel_2, pixel_3, pixel_4, ..., pixel_62, pixel_63, z_t, kind, pass labels",
            table(tmp_path, ",".join(wide) + "\n" + ",".join(66 * "1")))
    refuses("labels must name one column", table(tmp_path, "a,z_t,y_g1,y_g2\n1,2,0,0"))
    refuses("teacher must name columns of mine.csv, got 'logit'", table(tmp_path, "a,z_t,y_g\n1,2,0"), teacher="logit")
    refuses("inputs must name columns", table(tmp_path, "a,z_t,y_g\n1,2,0"), inputs=["a", "b"])
    refuses("one row of inputs", table(tmp_path, "a,z_t,y_g"))
    refuses("must name columns of mine.csv, got []", table(tmp_path, "a,z_t,y_g\nb,1,0"))
    refuses("probabilities must be said", table(tmp_path, "a,z_t,y_g\n1,0.2,0\n2,0.8,1"))
    refuses("probabilities in mine.csv must lie in [0, 1]", table(tmp_path, "a,z_t,y_g\n1,2,0"), probabilities=True)
    constant = read(table(tmp_path, "a,z_t,y_g\n1,2,0\n1,-2,1"))
    with pytest.raises(ValueError, match="x must have a column that varies"):
        constant.standardised()


def test_the_command_says_what_the_library_says_and_writes_a_page_of_its_own(tmp_path, capsys):
    x, z, y = example(80)
    path = arrays(tmp_path, x=x, z_t=z, y_g=np.array(["<a>", "b", "c"])[y])
    main([str(path), "--html", str(tmp_path / "report.html"), "--rho", "0.5", "--T", "2"])
    own = read(path).standardised()
    advice = advise(own.x, own.z_t, own.y_g, default=(0.5, 2.0))
    assert capsys.readouterr().out.strip() == "\n\n".join([*own.notes, str(advice)])
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "&lt;a&gt;, b, c" in page and "kd-still" in page and "Advice on mine.npz" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.index("Mistakes") < page.index("kd-still")


def test_the_command_judges_on_a_second_file(tmp_path, capsys):
    names = "x", "z_t", "y_g"
    first, second = (str(arrays(tmp_path, f"{seed}.npz", **dict(zip(names, example(90, seed=seed), strict=True))))
                     for seed in (0, 1))
    x, z, y = example(90, seed=1)
    arrays(tmp_path, "1.npz", x=x, z_t=np.exp(z) / np.exp(z).sum(1, keepdims=True), y_g=y)
    main([first, "--held-out", second, "--as-is", "--linear-head", "--most", "50"])
    said = capsys.readouterr().out
    assert "Held out: The teacher's answers were taken for probabilities" in said
    assert "50 of the 90 samples were taken" in said and "on 90 samples" in " ".join(said.split())


def test_the_command_refuses_in_one_line(tmp_path):
    run = lambda *arguments: subprocess.run([sys.executable, "-W", "error", "-m", "kdlib.advise", *arguments],
                                            capture_output=True, encoding="utf-8", cwd=tmp_path)  # fmt: skip
    refused = run("mine.npz")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1 and not refused.stdout
    assert refused.stderr.startswith("data must be a file that is there, got 'mine.npz'")
    assert "--held-out FILE" in run("--help").stdout
