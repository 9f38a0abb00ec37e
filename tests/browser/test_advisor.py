"""The advisor in the page: its JavaScript against the library, and the page with files of many kinds."""

import base64
import io
import json
import zipfile
from types import SimpleNamespace
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest
from playwright.sync_api import Error
from samples import task
from shown import live
from test_pages import accessibility_violations
from tolerances import ADVICE
from watched import PHONE, opened

from kdlib import advise
from kdlib.advise._report import sentences
from kdlib.explorers import AdvisorExplorer
from kdlib.explorers._base import module
from kdlib.own_data import read

SOLVER = SimpleNamespace(_esm=module("advice"))


def given(x, z_t, y):
    return {"x": x.ravel().tolist(), "z": (z_t[:, None] if z_t.ndim == 1 else z_t).tolist(), "y": y.tolist()}


def in_browser(evaluate, x, z_t, y, *, held_out=None, **settings):
    others = given(*held_out) if held_out else None
    return evaluate(SOLVER, """({advise}, {x, held_out, ...rest}) => {
        const list = ({x, ...others}) => ({x: Float64Array.from(x), ...others});
        const {best, ...found} = advise({...list({x}), ...rest, held_out: held_out && list(held_out)});
        return found;
    }""", {**given(x, z_t, y), "d": x.shape[1], "held_out": others, **settings})


def worse(z_t):
    return -3 * z_t


def nearly_twice(arrays):
    """With a sample at the end that is the first one, but for rounding."""
    return [np.concatenate([values, values[:1] + 1e-14 * (values.ndim > 1)]) for values in arrays]


SORTED = np.argsort(task(K=3)[2], kind="stable")
FEW = task(30, seed=4)
TWICE = [np.concatenate([values, values[:20]]) for values in task(K=3, seed=5)]
CASES = {
    "two classes": (task(), {}),
    "a teacher mostly wrong": ((task(300)[0], worse(task(300)[1]), task(300)[2]), {}),
    "three classes": (task(K=3), {}),
    "seven classes of five features": (task(200, K=7, d=5, seed=2), {"depth": 1}),
    "sorted by class": ([values[SORTED] for values in task(K=3)], {"depth": 5}),
    "two columns of logits": ((task()[0], np.stack([-task()[1] / 2, task()[1] / 2], 1), task()[2]), {}),
    "few": (FEW, {}),
    "eight": (task(8, seed=3), {}),
    "copies": (TWICE, {}),
    "one label": ((task()[0], task()[1], np.ones(150, int)), {}),
    "a teacher that has seen the labels": ((task(300)[0], 4 * (2 * task(300)[2] - 1.0), task(300)[2]), {}),
    "a teacher that knows nothing": ((task(K=3)[0], np.zeros((150, 3)), task(K=3)[2]), {"default": (0.5, 1)}),
    "another default": (task(seed=6), {"default": (0.3, 7.0), "reluctance": 0}),
    "an end as default": (task(seed=7), {"default": (0, 3), "cells": [(0.5, 2), (1, 9), (0.5, 2)]}),
    "large features": ((1e4 * task()[0], *task()[1:]), {}),
    "unlike features": ((task()[0] * [1, 1, 1e3], *task()[1:]), {}),
    "held out": (task(), {"held_out": task(90, seed=1)}),
    "held out, three classes": (task(K=3), {"held_out": task(310, K=3, seed=1)}),
    "held out, seen before": (task(), {"held_out": [values[:60] for values in task()]}),
    "held out, two": (task(), {"held_out": [values[:2] for values in task(seed=1)]}),
    "held out, a teacher that has seen the labels": (
        (task()[0], 4 * (2 * task()[2] - 1.0), task()[2]), {"held_out": task(300, seed=1)}),
}


def assert_agree(there, ours):
    assert (there["rho"], there["T"], there["verdict"]) == (ours.rho, ours.T, ours.verdict)
    for name in ours.cells.dtype.names:
        assert [cell[name] for cell in there["cells"]] == pytest.approx(ours.cells[name].tolist(), rel=0, abs=ADVICE)
    assert [tuple(cell) for cell in there["avoid"]] == list(ours.avoid)
    assert there["sizes"] == ours.sizes.tolist()
    for name, curve in ours.curves.items():
        assert there["curves"][name] == pytest.approx(curve.tolist(), abs=ADVICE)
    assert (there["perfect"], there["useless"]) == pytest.approx((ours.perfect, ours.useless), abs=ADVICE)
    assert {int(times): tuple(trials) for times, trials in there["coverage"].items()} == ours.coverage
    for found in there["forecasts"]:
        assert (found["error"], found["low"], found["high"]) == pytest.approx(ours.forecast(found["n"]), abs=ADVICE)
    assert there["more"] == ours.more
    assert there["warnings"] == list(ours.warnings)
    assert there["report"] == list(sentences(ours))


@pytest.mark.parametrize("case", CASES)
def test_advice_in_browser_and_library_agree(evaluate, case):
    arrays, settings = CASES[case]
    assert_agree(in_browser(evaluate, *arrays, **settings), advise(*arrays, **settings))


@pytest.mark.parametrize("x, z_t, y, message", [
    (*task(7), "x must hold at least 8 different samples, got 7: curves begin there"),
    (*nearly_twice(task(60)), "must be independent, but to this kernel sample "),
])
def test_what_the_library_refuses_the_browser_refuses(evaluate, x, z_t, y, message):
    with pytest.raises(ValueError, match=message):
        advise(x, z_t, y)
    with pytest.raises(Error, match=message):
        in_browser(evaluate, x, z_t, y)


# --- On a page ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A page with the advisor and nothing else, opened from the disk."""
    folder = tmp_path_factory.mktemp("page")
    shown = AdvisorExplorer().without_kernel()["text/html"]
    style = "body { margin: 12px; } html[data-theme=dark] { background: #121212; color: #ddd; color-scheme: dark; }"
    (folder / "page.html").write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Advisor</title><style>{style}</style>'
        f"</head><body><main><h1>Advisor</h1>{shown}</main></body></html>", "utf-8")
    return folder.as_uri() + "/"


@pytest.fixture
def page(browser, alone):
    with opened(browser, alone, "page.html", whole=False) as page:
        yield page


def field(page, name):
    return page.locator(f".kd-advisor [name={name}]")


def note(page):
    return page.locator(".kd-advisor .kd-note").inner_text()


def choose(page, name, content):
    page.locator("input[type=file]").set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": content})


def answered(page):
    page.locator(".kd-report p").first.wait_for()
    page.locator(".kd-advisor progress").wait_for(state="hidden")
    return page.locator(".kd-report p").all_inner_texts()


def saved(page, kind):
    with page.expect_download() as download:
        page.locator(f"[data-do={kind}]").click()
    return download.value.path().read_text("utf-8")


def refused(page):
    page.locator(".kd-note.kd-refused").wait_for()
    assert page.locator(".kd-report").is_hidden()
    return note(page)


def table(x, z, y, head):
    z = z.reshape(len(x), -1)
    rows = (",".join([*map(repr, map(float, [*a, *b])), str(c)]) for a, b, c in zip(x, z, y, strict=True))
    return "\n".join([head, *rows]).encode()


def arrays(save=np.savez, **values):
    file = io.BytesIO()
    save(file, **values)
    return file.getvalue()


def softmax(z):
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def other_archive():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    return file.getvalue()


X, Z, Y = task(120, K=3, d=4)
X2, Z2, Y2 = task(120, d=4)
WORDS = np.array(["cat", "ape", "bee"])
FILES = {
    "columns named by class": ("a.csv", table(X, Z, WORDS[Y], "a,b,c,d,z_t_cat,z_t_ape,z_t_bee,y_g")),
    "one logit": ("b.csv", table(X2, Z2, Y2, "x1,x2,x3,x4,z_t,y_g")),
    "labels that are sorted": ("c.csv", table(X2, 4 * Z2, 2 * Y2 - 1, "age,size,weight,x4,z_t,y_g")),
    "arrays": ("d.npz", arrays(x=X, z_t=Z, y_g=Y)),
    "packed, text, single precision, probabilities": ("e.npz", arrays(
        np.savez_compressed, x=X.astype("f4"), z_t=softmax(Z), y_g=WORDS[Y])),
    "images, other orders of bytes and axes": ("f.npz", arrays(
        x=X.reshape(-1, 2, 2), z_t=np.asfortranarray(Z.astype(">f8")), y_g=(Y + 1).astype(">i8"))),
    "half precision, probabilities of 0, booleans": ("g.npz", arrays(
        np.savez_compressed, x=X2.astype("f2"), z_t=np.stack([Y2 == 0, Y2 == 1], 1).astype(float)[::-1], y_g=Y2 == 1)),
    "bytes, unsigned": ("h.npz", arrays(x=np.rint(9 * X2 + 99).astype("u2"), z_t=Z2.astype("f4"), y_g=Y2.astype("u1"))),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_gets_the_advice_of_the_library(page, tmp_path, kind):
    name, content = FILES[kind]
    (tmp_path / name).write_bytes(content)
    own = read(tmp_path / name)
    choose(page, name, content)
    answered(page)
    assert_agree(json.loads(saved(page, "json")), advise(own.standardised().x, own.z_t, own.y_g))
    assert note(page).startswith(f"{name}: 120 samples, 4 features, {max(3 - own.z_t.ndim % 2, 2)} classes")
    assert note(page).endswith(" ".join(["", *own.notes]) if own.notes else f"({', '.join(own.classes)}).")


WAYS = SimpleNamespace(_esm=module("arrays"))
HEAD = "a,b,z_t_dog,z_t_cat,z_t_bird,y_g"
TABLES = {  # each with what both say of it, or refuse
    "named by class": (HEAD, ("dog", "cat", "bird"), ","),
    "semicolons": (HEAD, ("dog", "cat", "bird"), ";"),
    "tabs": (HEAD, ("dog", "cat", "bird"), "\t"),
    "numbered": (HEAD, "021", ","),
    "sorted": ("a,b,z_t1,z_t2,z_t3,y_g", "xyz", ","),
    "an index": (f",{HEAD}", ("dog", "cat", "bird"), ","),
    "an index by pandas": (f"Unnamed: 0,{HEAD}", ("dog", "cat", "bird"), ","),
    "names of samples": (f"id,{HEAD}", ("dog", "cat", "bird"), ","),
    "some words": (f"id,{HEAD}", ("dog", "cat", "bird"), ",", "must hold finite numbers, got"),
    "columns by number": ("a,b,z1,z2,z3,y_g", "121", ","),
    "other names": (HEAD, ("Dog", "Cat", "Bird"), ",", "must be among dog, cat, bird, as the teacher's columns are"),
    "from 1": ("a,b,z_t_k1,z_t_k2,z_t_k3,y_g", "121", ",", "must count from 0, got 1, 2 of 3 classes: subtract 1"),
    "a gap": (HEAD, ("dog", "", "bird"), ",", "must be there for each sample, got"),
    "NA": (HEAD, ("dog", "NA", "bird"), ",", "must be there for each sample, got"),
    "nan among numbers": (HEAD, ("0", "nan", "2"), ",", "must be there for each sample, got"),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_means_the_same_in_page_and_library(evaluate, tmp_path, kind):
    head, labels, separator, *refusal = TABLES[kind]
    first = {"some words": "7" + 11 * "p", "names of samples": 12 * "p"}.get(kind, "0123456789ab".replace("a", "1"))
    values = np.random.default_rng(0).normal(size=(12, 5)).round(3).astype(str)
    rows = [[*values[i], labels[i % 3]] for i in range(12)]
    if head.count(",") > 5:
        rows = [[first[i].replace("b", "2"), *row] for i, row in enumerate(rows)]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(separator.join(row) for row in [head.split(","), *rows]), "utf-8")
    teacher = "z_t" if "z_t" in head else "z"
    there = """async ({read, guessed, samples}, text) => {
        const arrays = await read("mine.csv", new TextEncoder().encode(text).buffer);
        const {x, z, y, names, notes} = samples(arrays, {...guessed(arrays), gives: "logits"});
        return {x: [...x], z: z.flat(), y, names, notes};
    }"""
    if refusal:
        with pytest.raises(ValueError, match=refusal[0]):
            read(path, teacher=teacher)
        with pytest.raises(Error, match=refusal[0]):
            evaluate(WAYS, there, path.read_text("utf-8"))
    else:
        own, found = read(path, teacher=teacher), evaluate(WAYS, there, path.read_text("utf-8"))
        for name, ours in {"x": own.x.ravel(), "z": own.z_t.ravel(), "y": own.y_g}.items():
            assert found[name] == ours.tolist()
        assert (tuple(found["names"]), tuple(found["notes"])) == (own.classes, own.notes)


def test_the_page_takes_rounded_probabilities_for_such(evaluate):
    guess = "({seem}, values) => seem({text: false, width: 3, values})"
    assert evaluate(WAYS, guess, [0.33, 0.33, 0.33]) == "probabilities"
    assert evaluate(WAYS, guess, [0.33, 0.33, 1.33]) == "logits"


def test_a_sample_is_named_by_its_place_in_the_file(evaluate):
    """Although some before it are held out."""
    x, z, y = task(60)
    x[41] = x[20] + 1e-14
    names = {"x": x.tolist(), "z": z.tolist(), "y": y.tolist(), "apart": (np.arange(60) % 3 == 0).astype(int).tolist()}
    kept = """({samples}, {x, z, y, apart}) => {
        const one = (name, values, width = 1) => ({name, values, width, columns: [name], text: false});
        const arrays = [one("x", x.flat(), 3), one("z", z), one("y", y), one("apart", apart)];
        const {x: inputs, ...rest} = samples(arrays, {features: "x", teacher: "z", label: "y", held_out: "apart",
            gives: "logits"});
        const {held_out} = rest;
        return {...rest, x: [...inputs], held_out: {...held_out, x: [...held_out.x]}};
    }"""
    given = evaluate(WAYS, kept, names)
    with pytest.raises(Error, match=r"to this kernel sample (21|42) is a combination of others"):
        evaluate(SOLVER, """({advise}, {x, held_out, ...rest}) => advise({...rest, x: Float64Array.from(x),
            held_out: {...held_out, x: Float64Array.from(held_out.x)}})""", given)


def test_other_ways_to_write_a_table_tell_the_same(page):
    said = set()
    plain = table(X, Z, WORDS[Y], "a,b,c,d,z_cat,z_ape,z_bee,label")
    lines = plain.splitlines()
    quoted = b"\xef\xbb\xbf" + b"\r\n".join(b'"%s"' % line.replace(b",", b'","') for line in lines)
    for content in (plain, plain.replace(b",", b";"), plain.replace(b",", b"\t") + b"\n\n", quoted):
        choose(page, "mine.csv", content)
        words = answered(page)
        said.add("\n".join([note(page), *words]))
    assert len(said) == 1
    numbered = b"\n".join(b"%s,%s" % (str(i - 1).encode() if i else b"", line) for i, line in enumerate(lines))
    choose(page, "mine.csv", numbered)
    assert answered(page) == words and note(page).endswith(" Column 1 has no name, and was left out.")


def test_columns_of_words_are_no_features(page):
    plain = table(X, Z, WORDS[Y], "a,b,c,d,z_cat,z_ape,z_bee,label")
    choose(page, "mine.csv", plain)
    before = answered(page)
    lines = plain.split(b"\n")
    choose(page, "mine.csv", b"\n".join(b"%s,%s" % (b"no %d" % i if i else b"id", v) for i, v in enumerate(lines)))
    assert answered(page) == before and note(page).endswith(" “id” holds no numbers, and was left out.")
    ages = [b"age", b"7", *[b"n.n."] * 119]
    choose(page, "mine.csv", b"\n".join(b"%s,%s" % pair for pair in zip(ages, lines, strict=True)))
    assert refused(page).startswith("“age” must hold finite numbers, got “n.n.” in sample 2: ")


def test_a_file_is_dropped_on_the_page(page):
    content = base64.b64encode(arrays(np.savez_compressed, x=X, z_t=Z, y_g=Y)).decode()
    data = page.evaluate_handle("""(text) => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], "dropped.npz"));
        return data;
    }""", content)
    page.dispatch_event(".kd-drop", "dragover", {"dataTransfer": data})
    assert page.locator(".kd-over").count() == 1
    page.dispatch_event(".kd-drop", "drop", {"dataTransfer": data})
    assert answered(page) == list(sentences(advise(*scaled(X), Z, Y)))
    assert page.locator(".kd-over").count() == 0 and note(page).startswith("dropped.npz: 120 samples")


def scaled(x, *others):
    return [(values - x.mean(0)) / x.std(0) for values in (x, *others)]


def test_the_example_is_the_one_of_the_still_picture(page):
    page.locator("[data-do=example]").click()
    words = fromstring(AdvisorExplorer().picture())
    assert answered(page) == [" ".join(p.text.split()) for p in words.findall("p")[1:]]


def test_samples_may_be_held_out_by_a_column(page):
    (x, z, y), apart = task(240, seed=8), np.arange(240) % 3 == 0
    choose(page, "mine.csv", table(np.c_[apart, x], z, y, "held_out,a,b,c,z,label"))
    given, others = scaled(x[~apart], x[apart])
    ours = advise(given, z[~apart], y[~apart], held_out=(others, z[apart], y[apart]))
    assert answered(page) == list(sentences(ours))
    assert field(page, "held_out").input_value() == "held_out"
    assert "160 samples and 80 held out, 3 features" in note(page)


def test_what_is_chosen_counts(page):
    choose(page, "mine.npz", arrays(first=X, second=X[:, :2], one=Z, two=softmax(-Z), y=Y))
    field(page, "teacher").select_option("two")
    assert field(page, "gives").input_value() == "probabilities"
    field(page, "features").select_option("second")
    field(page, "scaled").uncheck()
    field(page, "depth").select_option("1")
    field(page, "rho").fill("0.3")
    page.wait_for_function("!document.querySelector('[data-part=found]').hidden")
    ours = advise(X[:, :2], np.log(softmax(-Z)), Y, default=(0.3, 4), depth=1)
    assert answered(page) == list(sentences(ours))
    page.wait_for_url(lambda url: url.endswith("a.rho=0.3&a.T=4&a.depth=1"))


def test_a_link_brings_its_default(browser, alone):
    with opened(browser, alone, "page.html#a.rho=0.25&a.T=2&a.depth=2", whole=False) as page:
        assert [field(page, name).input_value() for name in ("rho", "T", "depth")] == ["0.25", "2", "2"]
    with opened(browser, alone, "page.html#a.rho=2&a.T=0&a.depth=9", whole=False) as page:
        assert [field(page, name).input_value() for name in ("rho", "T", "depth")] == ["0.9", "4", "3"]


def test_a_default_that_cannot_be_is_named_and_forgotten(page):
    page.locator("[data-do=example]").click()
    before = answered(page), note(page)
    field(page, "rho").fill("1.5")
    assert note(page) == "rho must lie in [0, 1], got 1.5: give a fraction, such as 0.9 for 90 %"
    assert field(page, "rho").get_attribute("aria-invalid") == "true"
    field(page, "rho").fill("0.9")
    assert (answered(page), note(page)) == before
    field(page, "T").fill("")
    assert note(page).startswith("T must lie between 1e-3 and 1e6, got nothing")


NAN = np.where(np.arange(120) == 16, np.nan, Z2)
BAD = {
    "no text": ("a.csv", b"\xff\xfe\x00", "a.csv must be CSV in UTF-8, or NPZ, got other bytes: save it anew"),
    "empty": ("a.csv", b"",
              "a.csv must hold a line with names, and one for each sample, got 0 lines of 0 values: separate"),
    "names alone": ("a.csv", b"x,z_t,y_g", "a.csv must hold a line with names, and one for each sample, got 1 lines"),
    "no names": ("a.csv", table(X, Z2, Y2, "1,2,3,4,5,6"),
                 "the first line must name the columns, got “1,2,3,4,5,6”: put"),
    "a name twice": ("a.csv", table(X, Z2, Y2, "a,a,c,d,z,y"), "names of columns must differ, got “a” twice: give"),
    "a short line": ("a.csv", b"a,z,y\n1,2,0\n1,2", "sample 2 must have 3 values, one for each name, got 2: complete"),
    "a gap": ("a.csv", table(X, NAN, Y2, "a,b,c,d,z,y"), "“z” must hold finite numbers, got NaN in sample 17: repair"),
    "few": ("a.csv", table(X[:7], Z2[:7], Y2[:7], "a,b,c,d,z,y"),
            "a file must hold 8 to 2000 samples, got 7: add some"),
    "many": ("a.npz", arrays(x=np.zeros((3000, 1)), z=np.zeros(3000), y=np.zeros(3000, int)),
             "a file must hold 8 to 2000 samples, got 3000: draw some"),
    "too many labels": ("a.npz", arrays(x=X, z_t=5 * Z2, y_g=Y), "labels must be of 2 classes, as many as the teacher "
                        "answers for, got 3, “0, 1, 2”: number them"),
    "constant": ("a.npz", arrays(x=np.ones((9, 2)), z_t=Z[:9], y_g=Y[:9]),
                 "x must have a column that varies, got only"),
    "rows that differ": ("a.npz", arrays(x=X, z_t=Z[:-1], y_g=Y),
                         "“z_t” must have a row for each of the 120 labels, got 119"),
    "nothing but labels": ("a.csv", b"y,z\n" + b"1,2\n" * 9,
                           "features must be apart from teacher and labels, got no column"),
    "pickled": ("a.npz", arrays(x=np.array([{}, 1], dtype=object)),
                "array “x” must hold numbers or text, got type '|O': save"),
    "complex": ("a.npz", arrays(x=X + 1j), "array “x” must hold numbers or text, got type '<c16': save it anew"),
    "cut": ("a.npz", arrays(x=X, z_t=Z, y_g=Y)[:-60],
            "a.npz must be a whole NPZ archive, got one without its end: save"),
    "damaged": ("a.npz", (lambda b: b[:200] + bytes(200) + b[400:])(arrays(np.savez_compressed, x=X, z_t=Z, y_g=Y)),
                "a.npz must be a whole NPZ archive, got a damaged one: save it anew"),
    "a single number": ("a.npz", arrays(x=np.float64(1)),
                        "a.npz must hold arrays with a value or a row for each sample, got none"),
    "a workbook": ("a.xlsx", other_archive(),
                   "a.xlsx must hold NumPy’s arrays alone, got “[Content_Types].xml”: save it"),
    "nearly alike": ("a.npz", arrays(**dict(zip(("x", "z_t", "y_g"), nearly_twice(task(60)), strict=True))),
                     "samples must be independent, but to this kernel sample "),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_refused_in_one_line_and_the_next_one_read(page, kind):
    name, content, message = BAD[kind]
    choose(page, name, content)
    said = refused(page)
    assert said.startswith(message) and "\n" not in said and ": " in said.removeprefix(message.split(", got")[0])
    page.locator("[data-do=example]").click()
    assert answered(page) and page.locator(".kd-refused").count() == 0


def test_only_the_last_file_is_answered(page):
    """What is still computed or read for another one is dropped."""
    x, z, y = task(600, K=5, d=5)
    with page.expect_worker() as computing:
        choose(page, "long.npz", arrays(x=x, z_t=z, y_g=y))
    page.locator(".kd-advisor progress").wait_for()
    with computing.value.expect_event("close"):
        choose(page, "bad.csv", b"x")
    said = refused(page)
    page.wait_for_timeout(1500)
    assert note(page) == said and said.startswith("bad.csv") and page.locator(".kd-report").is_hidden()


def test_all_is_done_by_keyboard(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.type") == "file"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    before = answered(page)
    field(page, "depth").focus()
    page.keyboard.press("ArrowUp")
    page.wait_for_function("document.querySelector('[name=depth]').value === '2'")
    assert answered(page) != before
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    assert page.locator(".kd-advisor tbody tr").count() == 21
    assert page.locator(".kd-advisor tbody tr").first.is_visible()
    page.locator("[data-do=text]").focus()
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    text = download.value.path().read_text("utf-8")
    assert text.startswith("digits.csv: 300 samples") and text.split("\n\n")[1:-1] == answered(page)


def test_the_answer_is_accessible_by_day_and_by_night_and_whole_on_a_phone(browser, alone):
    with opened(browser, alone, "page.html", whole=False, viewport=PHONE) as page:
        page.locator("[data-do=example]").click()
        answered(page)
        page.locator("summary").click()
        assert accessibility_violations(page) == []
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        assert accessibility_violations(page, runOnly=["color-contrast"]) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        for picture in page.locator(".kd-advisor svg").all():
            assert picture.bounding_box()["width"] > 300 and len(picture.locator("title").text_content()) > 60


def test_without_scripts_the_example_is_told_in_words(browser, alone):
    with opened(browser, alone, "page.html", java_script_enabled=False) as page:
        assert "of mistakes" in page.locator(".kd-still").inner_text()


def test_the_form_follows_a_live_model_and_drives_it(browser):
    with live(browser, AdvisorExplorer()) as page:
        page.locator("[data-do=example]").click()
        before = answered(page)
        page.evaluate("model.set('rho', 0.1)")
        page.wait_for_function("document.querySelector('.kd-report p').textContent.includes('rho = 0.1,')")
        assert answered(page) != before and field(page, "rho").input_value() == "0.1"
        field(page, "depth").select_option("1")
        assert page.evaluate("[model.get('depth'), model.saved]") == [1, 1]


def test_the_form_refuses_what_the_page_refuses():
    for name, value in (("rho", 1.5), ("T", 0), ("T", 1e7), ("depth", 0), ("depth", 6), ("depth", 2.5)):
        with pytest.raises(ValueError, match=f"^{name} must "):
            AdvisorExplorer(**{name: value})
