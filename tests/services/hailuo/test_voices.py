import pytest

from services.hailuo.voices import FIRST, OFFICIAL, read_replacements, voice_of
from shared.errors import RequestRefused

REPLACEMENTS = {
    "": {},
    "Podcast_girl, yueyue_hailuo,keli_hailuo": {
        "alloy": "Podcast_girl",
        "echo": "yueyue_hailuo",
        "fable": "keli_hailuo",
    },
    ",,keli_hailuo,": {"fable": "keli_hailuo"},
    '["Podcast_girl","yueyue_hailuo"]': {"alloy": "Podcast_girl", "echo": "yueyue_hailuo"},
    '["Podcast_girl", "", null, "keli_hailuo"]': {"alloy": "Podcast_girl", "onyx": "keli_hailuo"},
    "['Podcast_girl','keli_hailuo']": {"alloy": "Podcast_girl", "echo": "keli_hailuo"},
    "\"Podcast_girl\",'keli_hailuo'": {"alloy": "Podcast_girl", "echo": "keli_hailuo"},
    "a b,x&y=1,ok": {"fable": "ok"},
    "1,2,3,4,5,6,7": dict(zip(FIRST, "123456", strict=True)),
}


@pytest.mark.parametrize(("text", "wanted"), REPLACEMENTS.items())
def test_replacements(text: str, wanted: dict[str, str]) -> None:
    assert read_replacements(text) == wanted


TABLE = {
    "alloy": ("male-botong", "xiaomo_sft"),
    "echo": ("Podcast_girl", "Leishen2_hailuo"),
    "fable": ("boyan_new_hailuo", "Zhongli_hailuo"),
    "onyx": ("female-shaonv", "Paimeng_hailuo"),
    "nova": ("YaeMiko_hailuo", "keli_hailuo"),
    "shimmer": ("xiaoyi_mix_hailuo", "Hutao_hailuo"),
}


@pytest.mark.parametrize(("name", "voices"), TABLE.items())
def test_table(name: str, voices: tuple[str, str]) -> None:
    assert (voice_of(name, "tts-1", {}), voice_of(name, "tts-1-hd", {})) == voices
    assert voice_of(name.title(), "anything", {}) == voices[0]


@pytest.mark.parametrize("name", ["ash", "ballad", "cedar", "coral", "marin", "sage", "verse"])
def test_newer_names_have_voices(name: str) -> None:
    assert voice_of(name, "tts-1-hd", {}) in OFFICIAL


def test_a_replacement_wins_for_every_model() -> None:
    replaced = {"alloy": "puv_1"}
    assert voice_of("alloy", "tts-1-hd", replaced) == voice_of("alloy", "tts-1", replaced) == "puv_1"
    assert voice_of("echo", "tts-1", read_replacements("Podcast_girl, yueyue_hailuo,keli_hailuo")) == "yueyue_hailuo"
    assert voice_of("onyx", "tts-1", read_replacements("Podcast_girl, yueyue_hailuo,keli_hailuo")) == "female-shaonv"


def test_official_cloned_and_added() -> None:
    assert len(OFFICIAL) == 32
    assert all(voice_of(voice, "tts-1", {}) == voice for voice in OFFICIAL)
    assert voice_of("puv_123456", "tts-1", {}) == "puv_123456"
    assert voice_of("new_hailuo", "tts-1", {}, ("new_hailuo",)) == "new_hailuo"


@pytest.mark.parametrize("name", ["toString", "", "puv_", "puv_1&x=2", "new_hailuo", "a b", "x" * 500 + " "])
def test_unknown(name: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        voice_of(name, "tts-1", {}, ("bad voice",))
    assert all(known in refused.value.message for known in (*OFFICIAL, *TABLE, "puv_"))
    assert "bad voice" not in refused.value.message
