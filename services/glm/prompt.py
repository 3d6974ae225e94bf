"""The one message the site is sent: all of a conversation folded into a prompt, and the body around it. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.glm.site import GlmSite
from shared.openai.messages import Message
from shared.prompts import REST_OF_LINE, with_attention, without_pictures
from shared.terms import Conversation

TAGS = {"system": "<|sytstem|>", "assistant": "<|assistant|>", "user": "<|user|>"}
"""Role tags; the misspelt one is what the site has always been sent. Other roles stay bare words."""

_AGENT = re.compile(r"[a-z0-9]{24,}")
_SANDBOX_PATH = re.compile(f"/mnt/data/{REST_OF_LINE}")


def is_agent(model: str) -> bool:
    """Tell whether a model name is the id of an agent (the last piece of its page's address)."""
    return _AGENT.fullmatch(model) is not None


def prompt(messages: Sequence[Message], *, continued: bool) -> str:
    """Fold the messages into one text.

    A single message, or the new messages of a continued conversation, are given as they are; a whole history is
    written with role tags, without the pictures and sandbox paths of earlier answers.
    """
    if continued or len(messages) < 2:
        return "".join(f"{text}\n" for message in messages for text in message.texts)
    tagged = "".join(map(_tagged, with_attention(messages)))
    return _SANDBOX_PATH.sub("", without_pictures(f"{tagged}{TAGS['assistant']}\n"))


def _tagged(message: Message) -> str:
    tag = message.role
    for role, written in TAGS.items():
        tag = tag.replace(role, written, 1)
    return "".join(f"{tag}\n{text}\n" for text in message.texts)


def drawing_prompt(text: str) -> str:
    """Ask for a picture in words the drawing agent takes as such."""
    return text if "画" in text else f"请画：{text}"


def user_message(text: str, elements: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Give the message: the prompt, then the elements that name files and images."""
    return {"role": "user", "content": [{"type": "text", "text": text}, *elements]}


def chat_body(
    site: GlmSite, model: str, message: Mapping[str, Any], conversation: Conversation | None
) -> dict[str, Any]:
    """Give the body of a chat, its fields in the order the site's page writes them."""
    return _body(
        site,
        assistant=assistant(site, model),
        conversation=conversation.id if conversation else "",
        message=message,
        meta={
            "channel": "",
            **site.chat_mode(model),
            "draft_id": "",
            "if_plus_model": True,
            "input_question_type": "xxxx",
            "is_networking": True,
            "is_test": False,
            "platform": "pc",
            "quote_log_id": "",
            **site.selected_model(model),
        },
    )


def drawing_body(site: GlmSite, model: str, text: str) -> dict[str, Any]:
    """Give the body that asks the drawing agent, or the agent named by `model`, for a picture."""
    return _body(
        site,
        assistant=drawing_assistant(site, model),
        conversation="",
        message=user_message(f"{drawing_prompt(text)}\n"),
        meta={
            "channel": "",
            "draft_id": "",
            "if_plus_model": True,
            "input_question_type": "xxxx",
            "is_test": False,
            "platform": "pc",
            "quote_log_id": "",
        },
    )


def assistant(site: GlmSite, model: str) -> str:
    """Give the assistant that a chat with this model name goes to."""
    return model if is_agent(model) else site.main_assistant


def drawing_assistant(site: GlmSite, model: str) -> str:
    """Give the assistant that a drawing with this model name goes to."""
    return model if is_agent(model) else site.drawing_assistant


def _body(
    site: GlmSite, *, assistant: str, conversation: str, message: Mapping[str, Any], meta: dict[str, Any]
) -> dict[str, Any]:
    extra = dict(site.extra_body)
    extra_meta = extra.pop("meta_data", {})
    return {
        "assistant_id": assistant,
        "conversation_id": conversation,
        "messages": [message],
        "meta_data": {**meta, **extra_meta},
        **extra,
    }
