"""`POST /token/check`: whether an account token works."""

import asyncio
from typing import Any

from aiohttp import web

from shared.accounts import Account
from shared.errors import AccountBarred, AccountExpired, AddressLimited, SessionRefused
from shared.openai.errors import BadRequest
from shared.openai.parse import read_body
from shared.routes.body import json_response, parse_body
from shared.service import SERVICE, Service


async def check(request: web.Request) -> web.Response:
    """Check the token in the body; with API keys and no token in the body, every account of the server.

    A site that cannot be asked is an error, never a dead token.
    """
    service = request.app[SERVICE]
    async with service.running():
        fields = await parse_body(request, read_body)
        token = fields.text("token", "")
        if service.settings.api_keys:
            caller = service.caller(request)
            if not token:
                return json_response(await _all(service, caller.accounts))
        if not token.strip():
            raise BadRequest("`token` must be an account token.", "token")
        try:
            account = service.accounts.account(token.strip())
        except AccountExpired:
            return json_response({"live": False})
        return json_response({"live": await _live(service, account)})


async def _all(service: Service, accounts: tuple[Account[Any, Any], ...]) -> dict[str, Any]:
    live = await asyncio.gather(*(_live(service, account) for account in accounts))
    told = [{"account": a.key, "live": is_live} for a, is_live in zip(accounts, live, strict=True)]
    return {"live": all(live), "accounts": told}


async def _live(service: Service, account: Account[Any, Any]) -> bool:
    service.accounts.check_address()
    try:
        return await service.provider.check(account)
    except (AccountExpired, AccountBarred, SessionRefused):
        return False
    except AddressLimited as error:
        service.accounts.failed(account, error)
        raise
