"""Advice on a file, without Jupyter: ``python -m kdlib.advise mine.npz --html report.html``."""

import sys
from argparse import ArgumentParser
from html import escape
from pathlib import Path

from kdlib.advise.files import advise_on

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 45rem; margin: auto; padding: 1rem }}
.kd-figure {{ height: auto !important }}
</style>
</head><body><h1>{title}</h1>
{body}
</body></html>
"""


def _arguments(arguments):
    parser = ArgumentParser("python -m kdlib.advise", description="Which soft ratio and temperature, and whether more "
                            "samples would help, from inputs, a teacher's answers and labels.")
    add = parser.add_argument
    add("data", help="an .npz file with arrays x, z_t and y_g, or a table, .csv or .parquet, with names of its columns")
    add("--held-out", metavar="FILE", default="", help="samples that the teacher has not seen, to judge students on")
    add("--html", metavar="FILE", help="where to write the report with its figure")
    add("--inputs", default="", help="key of the inputs, or what their columns begin with; by default all others")
    add("--teacher", default="z_t", help="key of the teacher's answers, or what their columns begin with")
    add("--labels", default="y_g", help="key or column of the labels")
    answers = parser.add_mutually_exclusive_group()
    answers.add_argument("--probabilities", action="store_true", default=None, help="the teacher answers by these")
    answers.add_argument("--logits", action="store_false", dest="probabilities", help="the teacher answers by these")
    add("--rho", type=float, default=0.9, help="soft ratio to beat, by default %(default)s")
    add("--T", type=float, default=4.0, help="temperature to beat, by default %(default)s")
    add("--depth", type=int, default=3, help="hidden layers of the wide network, by default %(default)s")
    add("--linear-head", action="store_true", help="inputs are frozen features under a linear head")
    add("--as-is", action="store_true", help="do not bring the inputs' columns to one scale")
    add("--reluctance", type=float, default=1.0, help="standard errors by which a choice must beat the default")
    add("--noise", type=float, default=0.0, help="share of the labels that are wrong, if it is known")
    add("--jitter", type=float, default=0.0, help="added to the kernel's diagonal")
    add("--most", type=int, default=5000, help="samples to take at most, by default %(default)s")
    return parser.parse_args(arguments)


def main(arguments=None):
    given = _arguments(arguments)
    try:
        advice, notes = advise_on(
            given.data, given.held_out, most=given.most, standardise=not given.as_is, inputs=given.inputs,
            teacher=given.teacher, labels=given.labels, probabilities=given.probabilities,
            default=(given.rho, given.T), depth=given.depth, features=given.linear_head, reluctance=given.reluctance,
            jitter=given.jitter, noise=given.noise,
        )  # fmt: skip
        print(*notes, advice, sep="\n\n")
        if given.html:
            body = "".join(f"<p>{escape(note)}</p>" for note in notes) + advice._repr_html_()
            page = _PAGE.format(title=f"Advice on {escape(Path(given.data).name)}", body=body)
            Path(given.html).write_text(page, "utf-8")
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
