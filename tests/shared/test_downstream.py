"""The stream to the client, at the moments that no site can be made to meet."""

from aiohttp.test_utils import make_mocked_request

from shared.downstream import Downstream


async def test_a_head_on_its_way_has_begun() -> None:
    down = Downstream(make_mocked_request("POST", "/"), head_wait=3600)
    down.accepted()
    assert not down.begun
    # The timer has fired, the head is not written yet: a failure now must not send a second head.
    down._send_head()
    assert not down.response.prepared
    assert down.begun
    down.close()
