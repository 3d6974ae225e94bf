"""What an answer is made with goes when the answer ends: the garbage collector stops every other answer."""

import gc
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import get_args

import pytest

from services.emohaa.reply import EmohaaDecoder
from services.glm.reply import GlmDecoder
from services.hailuo.reply import HailuoDecoder
from services.metaso.reply import MetasoDecoder
from services.step.reply import StepDecoder
from shared.deltas import Delta, Finish, Text
from shared.openai.chunks import Chunks, Completion, Face, Rendering, Style
from shared.reply import Decoder

DECODERS: dict[str, Callable[[], Decoder]] = {
    "emohaa": EmohaaDecoder,
    "glm": partial(GlmDecoder, "assistant"),
    "hailuo": HailuoDecoder,
    "metaso": MetasoDecoder,
    "step": StepDecoder,
}
THINKING = get_args(Style.__annotations__["thinking"])


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("make", DECODERS.values(), ids=DECODERS)
def test_a_decoder_holds_nothing_that_holds_it(make: Callable[[], Decoder]) -> None:
    decoder = make()
    decoder.end()
    gone = weakref.ref(decoder)
    del decoder
    assert gone() is None


@pytest.mark.parametrize("thinking", THINKING)
def test_nor_does_a_rendering(thinking: str) -> None:
    rendering = Rendering(Style(thinking), unknown=lambda _: None)  # type: ignore[arg-type]
    deltas: list[Delta] = [Text("words"), Finish()]
    Completion(rendering).feed(deltas)
    Chunks(rendering, Face("id", "model", 0), include_usage=False).finish("stop", None)
    gone = weakref.ref(rendering)
    del rendering
    assert gone() is None
