"""requests-oauthlib as a public client: a refresh, a scope that was not granted, a revocation, and the refresh after it."""

import sys

import requests
from oauthlib.oauth2 import InvalidGrantError, InvalidScopeError
from requests_oauthlib import OAuth2Session

base, refresh_token, client_id, scope = sys.argv[1:]


def refresh(refresh_token, scope):
    session = OAuth2Session(client_id, scope=[scope])
    return session.refresh_token(f"{base}/refresh", refresh_token=refresh_token, client_id=client_id)


def is_refused(error, refresh_token, scope):
    try:
        refresh(refresh_token, scope)
    except error:
        return True
    return False


token = refresh(refresh_token, scope)
newer = token["refresh_token"]
assert newer != refresh_token and token["scope"] == [scope]
assert is_refused(InvalidScopeError, newer, "admin")
session = OAuth2Session(client_id)
url, headers, body = session._client.prepare_token_revocation_request(f"{base}/revoke", newer, "refresh_token")
answer = requests.post(url, headers=headers, data=body, timeout=10)
assert answer.status_code == 200, answer.status_code
assert is_refused(InvalidGrantError, newer, scope)
