"""A page of its own around a report: nothing is loaded from elsewhere, nothing runs, and it is read in light and in dark.

Every figure stands beside its numbers in a table, so nothing depends on a colour or a picture. This module must not know what
a report is of.
"""

import html
from collections.abc import Iterable, Sequence
from typing import Final

_STYLE: Final = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1c2530;--quiet:#4a5663;--line:#7d8894;--rule:#d5dbe2;--accent:#0b5cad;
--doubt:#b3261e;--shade:#f2f5f8}
@media (prefers-color-scheme:dark){:root{--paper:#14191f;--ink:#e8edf2;--quiet:#b4bfca;--line:#8a97a5;--rule:#37424e;
--accent:#7cb8f5;--doubt:#ff9a8f;--shade:#1d242c}}
body{font:1rem/1.55 system-ui,sans-serif;max-width:72rem;margin:0 auto;padding:1.5rem 1rem 4rem;background:var(--paper);
color:var(--ink)}
h1{font-size:1.7rem}h2{font-size:1.35rem;margin-top:2.5rem}h3{font-size:1.1rem;margin-top:1.8rem}
a{color:var(--accent)}code{background:var(--shade);padding:0 .25em}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:.4rem 0 1rem}
caption{text-align:left;color:var(--quiet);padding-bottom:.3rem}
th,td{padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--rule);text-align:right;vertical-align:top;
font-variant-numeric:tabular-nums;white-space:nowrap}
th:first-child,td:first-child{text-align:left}thead th{border-bottom:2px solid var(--line)}tbody th{font-weight:inherit}
figure{margin:.8rem 0 1.4rem}figcaption{color:var(--quiet);max-width:60rem}svg text{font-family:system-ui,sans-serif}
.say{border-left:.3rem solid var(--accent);background:var(--shade);padding:.4rem .8rem;margin:.4rem 0}
.loud{border-left:.3rem solid var(--doubt);background:var(--shade);padding:.4rem .8rem;margin:.4rem 0;font-weight:600}
details{margin:.4rem 0}summary{cursor:pointer;color:var(--accent);padding:.2rem 0}
"""


def page(title: str, lead: str, parts: Iterable[str]) -> str:
    """Return a whole page.

    Parameters
    ----------
    title, lead
        The heading, and a sentence under it; plain text.
    parts
        HTML of what follows.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{text(title)}</h1>\n<p>{text(lead)}</p>\n" + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )


def text(words: str) -> str:
    """Return plain text as HTML."""
    return html.escape(words)


def heading(level: int, words: str) -> str:
    """Return a heading."""
    return f"<h{level}>{text(words)}</h{level}>"


def say(words: str) -> str:
    """Return a sentence that is the point of what stands around it."""
    return f'<p class="say">{text(words[:1].upper() + words[1:])}.</p>'


def loud(words: str) -> str:
    """Return a note that must not be overlooked."""
    return f'<p class="loud"><span aria-hidden="true">! </span>{text(words[:1].upper() + words[1:])}.</p>'


def table(caption: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the first cell of a row heads it."""
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in names)
    body = "\n".join(
        f'<tr><th scope="row">{text(first)}</th>' + "".join(f"<td>{text(cell)}</td>" for cell in rest) + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{html.escape(caption)}">'
        f"<table><caption>{text(caption)}</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def figure(drawn: str, caption: str) -> str:
    """Return a figure with its caption."""
    return f"<figure>\n{drawn}\n<figcaption>{text(caption)}</figcaption></figure>"


def folded(summary: str, parts: Iterable[str]) -> str:
    """Return what is shown on demand."""
    return f"<details><summary>{text(summary)}</summary>\n" + "\n".join(parts) + "\n</details>"
