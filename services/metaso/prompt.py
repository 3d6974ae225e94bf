"""What is searched for, and how: read from the model name, the last message and the temperature. Pure."""

import re
from collections.abc import Mapping
from urllib.parse import quote_plus

from attrs import field, frozen

from services.metaso.site import MetasoSite
from shared.openai.fields import Fields
from shared.openai.messages import Message
from shared.openai.requests import ChatRequest
from shared.terms import Conversation

INSTRUCTIONS = {"concise": "简洁搜索", "detail": "深入搜索", "research": "研究搜索"}
"""The modes, and what in a message asks for each; the first that is found counts."""
SCHOLAR = "scholar"
"""The engine that searches papers; the other one, of the whole web, has an empty name."""

_SCHOLAR_WORD = "学术"
_SCHOLAR_ORDER = re.compile(f"{_SCHOLAR_WORD}(?:[:|：]|{'|'.join(INSTRUCTIONS.values())})")
"""What is an order to search papers even where no order is expected: 学术会议 is only a word."""

_WEATHER = "天气"
_ANSWER_AT_ONCE = "，直接回答"
"""Without it the site shows a card with the weather, and writes nothing."""

_DEFAULT_TEMPERATURE = 0.6
_DETAIL_FROM, _RESEARCH_FROM = 0.4, 0.7
"""Temperatures from which a search is thorough, where nothing else says how thorough it is to be."""


@frozen
class Question:
    """One search: what the site is asked, in which mode, with which engine."""

    text: str = field(repr=False)
    mode: str
    engine: str = ""


def read_question(request: ChatRequest) -> Question:
    """Take the last message as the question; raise `BadRequest` when a temperature is no number."""
    fields = Fields(request.extra)
    # The second name is misspelt, as clients of this site have learnt it.
    temperature = fields.number("temperature", fields.number("tempature", _DEFAULT_TEMPERATURE))
    return question(request.model, _text(request.messages[-1]), temperature)


def question(model: str, text: str, temperature: float) -> Question:
    """Choose mode and engine by the model name, else by an instruction in the text, else by the temperature.

    An instruction that counts is taken out of the text.
    """
    mode, engine = [*model.split("-", 2), ""][:2]
    if _WEATHER in text:
        text += _ANSWER_AT_ONCE
    named = mode in INSTRUCTIONS
    if not named:
        mode, text = _instructed(text, temperature)
    if _SCHOLAR_ORDER.match(text) or (not named and text.startswith(_SCHOLAR_WORD)):
        engine, text = SCHOLAR, text.removeprefix(_SCHOLAR_WORD)
    return Question(text, mode, engine if engine == SCHOLAR else "")


def session_body(asked: Question) -> Mapping[str, str]:
    """Give the body that opens a session, its fields in the order the site's page writes them."""
    return {
        "question": asked.text,
        "mode": asked.mode,
        "engineType": asked.engine,
        "scholarSearchDomain": "all",
    }


def search_url(site: MetasoSite, asked: Question, conversation: Conversation, meta_token: str) -> str:
    """Give the address of a search, its fields in the order the site's page writes them."""
    fields = {
        "sessionId": conversation.id,
        "question": asked.text,
        "lang": site.language,
        "mode": asked.mode,
        "url": f"{site.base}/search/{conversation.id}?newSearch=true&q={asked.text}",
        "enableMix": "true",
        "scholarSearchDomain": "all",
        "expectedCurrentSessionSearchCount": "1",
        "is-mini-webview": "0",
        "token": meta_token,
        **site.extra_query,
    }
    return f"{site.base}{site.search_path}?{query(fields)}"


def query(fields: Mapping[str, str]) -> str:
    """Write a query in the order given, escaped as the site's page does it."""
    return "&".join(f"{name}={quote_plus(value, safe=_PLAIN)}" for name, value in fields.items())


_PLAIN = "!*'()" + ":$,[]"
"""What stays as it is: what JavaScript's encodeURIComponent leaves alone, and what the page puts back."""


def _text(message: Message) -> str:
    return "\n".join(message.texts)


def _instructed(text: str, temperature: float) -> tuple[str, str]:
    """Give the mode that a text asks for, and the text without that; else the mode of the temperature."""
    for mode, words in INSTRUCTIONS.items():
        if words in text:
            return mode, re.sub(f"{words}[:|：]?", "", text)
    if temperature < _DETAIL_FROM:
        return "concise", text
    return ("research" if temperature >= _RESEARCH_FROM else "detail"), text
