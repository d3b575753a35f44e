"""The environment of the pages: the base, the macros, and what isn't there."""

import sys

import jinja2
import pytest

from smartglocal_async.errors import Misuse
from smartglocal_async.pages import environment, new_nonce

PACKAGE = "smartglocal_async.payouts.reports"
PAGE = """{% extends "base.html.j2" %}
{% from "macros.html.j2" import badge, cell, live, row_head, table %}
{% block title %}{{ title }}{% endblock %}
{% block content %}
{{ live() }}
{% call table(["Key", ("Amount", "number")]) %}
<tr>{{ row_head("Key", title) }}
{% call cell("Amount") %}{{ badge("a & b", "open") }}{% endcall %}</tr>
{% endcall %}
{% endblock %}
"""


def page(**names: object) -> str:
    """Return a page with the base and the macros."""
    return environment(PACKAGE, "a page", "pages").from_string(PAGE).render(names)


def test_a_served_page_has_a_nonce_for_its_own_style_and_script():
    """And the address of its events."""
    text = page(title="x", nonce="n0", events="/events")
    assert '<style nonce="n0">' in text
    assert '<script nonce="n0">' in text
    assert '<body data-events="/events">' in text
    assert 'id="notice"' in text


def test_a_page_in_a_file_has_no_script():
    """It is updated by nothing."""
    text = page(title="x")
    assert "<script" not in text
    assert "data-events" not in text
    assert "<style>" in text


def test_values_are_escaped():
    """In the blocks of a page and in the cells of a table."""
    text = page(title="<b>'&", nonce="n")
    assert "<b>" not in text
    assert "<title>&lt;b&gt;&#39;&amp;</title>" in text
    assert 'data-label="Key">&lt;b&gt;&#39;&amp;</th>' in text
    assert '<span class="badge open">a &amp; b</span></span></td>' in text


def test_no_handler_is_inline():
    """The policy of the pages allows none."""
    assert " on" not in page(title="x", nonce="n").split("<body", 1)[1].split("<script", 1)[0]


def test_an_unknown_name_is_an_error():
    """A template that misspells a name shows no empty text."""
    with pytest.raises(jinja2.UndefinedError):
        _ = page(nonce="n")


def test_without_jinja2(monkeypatch):
    """The error names what needs it, and the command that installs it."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(Misuse) as raised:
        _ = environment(PACKAGE, "the page of a thing", "pages")
    assert str(raised.value) == (
        "the page of a thing needs Jinja2: pip install 'smartglocal-async[pages]'"
    )


def test_nonces_differ():
    """Each response has its own."""
    assert len({new_nonce() for _ in range(100)}) == 100
