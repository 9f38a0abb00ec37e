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
    for name in ("mine.parquet", "mine", "mine.xlsx"):
        refuses("data must be an .npz or .csv file, got ", tmp_path / name)
    refuses("data must be a file that is there", tmp_path / "none.csv")
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    refuses("broken.npz must be a sound .npz file", tmp_path / "broken.npz")
    np.savez(tmp_path / "pickled.npz", x=np.array([{}, 1], dtype=object))
    refuses("pickled.npz must be a sound .npz file without pickled objects", tmp_path / "pickled.npz")
    (tmp_path / "broken.csv").write_bytes(b"\xff\xfe\x00")
    refuses("broken.csv must be a table of text in UTF-8", tmp_path / "broken.csv")
    refuses("mine.csv must be a table of text", table(tmp_path, ""))
    refuses("teacher must name an array of mine.npz, got 'z_t': it has x, z, y_g", arrays(tmp_path, x=x, z=z, y_g=y))
    refuses("inputs must be finite numbers", arrays(tmp_path, x=np.where(x > 300, np.nan, x), z_t=z, y_g=y))
    refuses("mine.npz must have one row of inputs", arrays(tmp_path, x=x, z_t=z[:-1], y_g=y))
    refuses("labels in mine.npz must be of 3 classes", arrays(tmp_path, x=x, z_t=z, y_g=np.array([*"abcd"] * 15)))
    refuses("labels in mine.npz must be of 2 classes", arrays(tmp_path, x=x, z_t=5 * z[:, 0], y_g=y))


def test_tables_that_cannot_be_used_are_refused_in_one_line(tmp_path):
    refuses("got another number in row 3", table(tmp_path, "a,z_t,y_g\n1,2,0\n1,2"))
    refuses("got a name twice", table(tmp_path, "a,a,z_t,y_g\n1,2,3,0"))
    numbers = "of mine.csv must hold finite numbers"
    refuses(f"column a {numbers}, got 'x' in row 3", table(tmp_path, "a,z_t,y_g\n1,2,0\nx,2,1"))
    refuses(f"column z_t {numbers}, got '' in row 2", table(tmp_path, "a,z_t,y_g\n1,,0\n1,2,1"))
    refuses(f"column z_t {numbers}, got 'inf' in row 3", table(tmp_path, "a,z_t,y_g\n1,2,0\n1,inf,1"))
    refuses("labels must name columns of mine.csv, got 'y_g'", table(tmp_path, "a,z_t,y\n1,2,0"))
    refuses("labels must name one column", table(tmp_path, "a,z_t,y_g1,y_g2\n1,2,0,0"))
    refuses("teacher must name columns of mine.csv, got 'logit'", table(tmp_path, "a,z_t,y_g\n1,2,0"), teacher="logit")
    refuses("inputs must name columns", table(tmp_path, "a,z_t,y_g\n1,2,0"), inputs=["a", "b"])
    refuses("one row of inputs", table(tmp_path, "a,z_t,y_g"))
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
    main([first, "--held-out", second, "--as-is", "--linear-head", "--most", "50"])
    said = capsys.readouterr().out
    assert "50 of the 90 samples were taken" in said and "on 90 samples" in " ".join(said.split())


def test_the_command_refuses_in_one_line(tmp_path):
    run = lambda *arguments: subprocess.run([sys.executable, "-W", "error", "-m", "kdlib.advise", *arguments],
                                            capture_output=True, encoding="utf-8", cwd=tmp_path)  # fmt: skip
    refused = run("mine.npz")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1 and not refused.stdout
    assert refused.stderr.startswith("data must be a file that is there, got 'mine.npz'")
    assert "--held-out FILE" in run("--help").stdout
