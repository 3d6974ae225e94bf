"""The site's voices, and what OpenAI's names stand for. Pure."""

import re
from collections.abc import Iterable, Mapping

import orjson

from shared.errors import RequestRefused

OFFICIAL: Mapping[str, str] = {
    "male-botong": "思远",
    "Podcast_girl": "心悦",
    "boyan_new_hailuo": "子轩",
    "female-shaonv": "灵儿",
    "YaeMiko_hailuo": "语嫣",
    "xiaoyi_mix_hailuo": "少泽",
    "xiaomo_sft": "芷溪",
    "cove_test2_hailuo": "浩翔 (English)",
    "scarlett_hailuo": "雅涵 (English)",
    "Leishen2_hailuo": "模仿雷电将军",
    "Zhongli_hailuo": "模仿钟离",
    "Paimeng_hailuo": "模仿派蒙",
    "keli_hailuo": "模仿可莉",
    "Hutao_hailuo": "模仿胡桃",
    "Xionger_hailuo": "模仿熊二",
    "Haimian_hailuo": "模仿海绵宝宝",
    "Robot_hunter_hailuo": "模仿变形金刚",
    "Linzhiling_hailuo": "小玲玲",
    "huafei_hailuo": "拽妃",
    "lingfeng_hailuo": "东北er",
    "male_dongbei_hailuo": "老铁",
    "Beijing_hailuo": "北京er",
    "JayChou_hailuo": "JayJay",
    "Daniel_hailuo": "潇然",
    "Bingjiao_zongcai_hailuo": "沉韵",
    "female-yaoyao-hd": "瑶瑶",
    "murong_sft": "晨曦",
    "shangshen_sft": "沐珊",
    "kongchen_sft": "祁辰",
    "shenteng2_hailuo": "夏洛特",
    "Guodegang_hailuo": "郭嘚嘚",
    "yueyue_hailuo": "小月月",
}
"""The site's own voices: id, name."""

FIRST = ("alloy", "echo", "fable", "onyx", "nova", "shimmer")
"""OpenAI's first voices, in the order in which `REPLACE_AUDIO_MODEL` replaces them."""
_STANDARD = (
    "male-botong",
    "Podcast_girl",
    "boyan_new_hailuo",
    "female-shaonv",
    "YaeMiko_hailuo",
    "xiaoyi_mix_hailuo",
)
_HD = (
    "xiaomo_sft",
    "Leishen2_hailuo",
    "Zhongli_hailuo",
    "Paimeng_hailuo",
    "keli_hailuo",
    "Hutao_hailuo",
)
_BY_MODEL: Mapping[str, Mapping[str, str]] = {"tts-1-hd": dict(zip(FIRST, _HD, strict=True))}
"""What the first voices stand for, by model; any other model has the standard ones."""
_BY_NAME: Mapping[str, str] = {
    **dict(zip(FIRST, _STANDARD, strict=True)),
    "ash": "kongchen_sft",
    "ballad": "Bingjiao_zongcai_hailuo",
    "cedar": "Daniel_hailuo",
    "coral": "scarlett_hailuo",
    "marin": "shangshen_sft",
    "sage": "murong_sft",
    "verse": "cove_test2_hailuo",
}

_CLONE = re.compile(r"puv_[0-9]+")
_ID = re.compile(r"[A-Za-z0-9_.-]+")
"""A voice id goes into an address as it is."""
_QUOTES = "[]\"' \t\r\n"


def read_replacements(text: str) -> dict[str, str]:
    """Read `REPLACE_AUDIO_MODEL`: voice ids separated by commas, or a JSON array of them, by position.

    A place that is empty, or holds no voice id, keeps its own voice.
    """
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = text.split(",")
    ids = found if isinstance(found, list) else [found]
    named = zip(FIRST, (str(id_).strip(_QUOTES) if id_ is not None else "" for id_ in ids), strict=False)
    return {name: id_ for name, id_ in named if _ID.fullmatch(id_)}


def voice_of(name: str, model: str, replacements: Mapping[str, str], more: Iterable[str] = ()) -> str:
    """Give the id of the voice a client asked for: by an OpenAI name, an id of the site, or that of a clone.

    Raise `RequestRefused`, with all that is known, for any other.
    """
    name = name.strip()
    known = {*OFFICIAL, *filter(_ID.fullmatch, more)}
    if name in known or _CLONE.fullmatch(name):
        return name
    plain = name.lower()
    for table in (replacements, _BY_MODEL.get(model, {}), _BY_NAME):
        if plain in table:
            return table[plain]
    said = f"There is no voice {name!r}" if _ID.fullmatch(name) else "`voice` names no voice"
    listed = ", ".join([*_BY_NAME, *OFFICIAL, *sorted(known - OFFICIAL.keys())])
    raise RequestRefused(f"{said}. Known: {listed}; your own clones: puv_ and digits.")
